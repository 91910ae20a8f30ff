# si_auth_cookie: a token in a cookie, and whose pages may act with it.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use SI::Edge;
use SI::Test::Jwt;
use Test::More;

my $dir = File::Temp::tempdir('si-cookies-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('e1', 'ES256')->write("$dir/keys.json");
sub token { return $idp->token({ iss => 'https://id.example', sub => 'ann', aud => 'si', exp => time + 300, @_ }, kid => 'e1') }

my $app = 'https://app.example.com';
my $policy = "si_auth_jwt issuer=https://id.example audience=si tenant=acme leeway=0s;\nsi_auth_jwt_keys file=$dir/keys.json;\n";
my $edge = SI::Edge->new(tls => 1, http => "si_cors $app http://localhost:3000;\nsi_limit_zone \$si_credential zone=credential:64k rate=1r/m burst=3;",
    location => "si_auth jwt;\n${policy}si_auth_cookie __Host-si;\nlocation /both { si_auth jwt key; si_pass main; }\nlocation /off { si_auth_cookie off; si_pass main; }\n"
        . 'location /limited { si_limit zone=credential; si_pass main; }');
my $w = $edge->worker(0);
$edge->start;
$w->wait_link;
my $token = token();

# A request to http://t with the cookie and these fields: 'ann', who the worker was told is calling, or status and code.
sub ask {
    my ($method, $head, $path, $cookie) = @_;
    my $c = $edge->client("$method " . ($path || '/v1/x') . " HTTP/1.1\r\nHost: t\r\n" . ($cookie // "Cookie: __Host-si=$token\r\n") . "$head\r\n");
    SI::Edge::wait_for(sub { $w->has('OPEN') || $c->{eof} || length $c->header }, 'a call or an answer');
    my $who;
    if ($w->has('OPEN')) {
        my $call = $w->call;
        $who = $call->{subject} // 'nobody';
        $who .= ' and a cookie' if grep { $_ eq 'cookie' } @{ $call->{list} };
        $call->head(204)->end;
        $c->wait_head;
    } else {
        $c->wait_whole if $method ne 'HEAD';
        $who = join ' ', $c->status, $c->body =~ /"code":"(\w+)"/;
    }
    $c->close;
    return $who;
}
my $upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
my $same = "Sec-Fetch-Site: same-origin\r\n";
my $foreign = '403 foreign_origin';

# Everything that is not quite an origin that may.
my @others = ('https://evil.example', 'null', '', 'http://t.evil.example', 'http://evil.example/http://t', 'http://x.t', 'http://tt', 'https://t', 'http://t:8080', 'http://t:80', 'http://t/', 'HTTP://T', 't',
    'http://app.example.com', "$app:443", "$app:8443", "$app/", 'https://x.app.example.com', 'https://example.com', 'https://APP.example.com', 'https://app.example.com.evil.example', 'http://localhost', 'http://localhost:3001',
    'http://127.0.0.1:3000', "$app, http://t", 'http://t http://t', '*');

subtest 'methods that change something' => sub {
    for my $method (qw(POST PUT PATCH DELETE)) {
        is ask($method, "Origin: $_\r\n"), 'ann', "$method from $_" for 'http://t', $app, 'http://localhost:3000';
        is ask($method, ''), $foreign, "$method without an Origin";
        is ask($method, $same), $foreign, 'also when it says that it comes from here';
    }
    is ask(POST => "Origin: $_\r\n"), $foreign, "from \"$_\"" for @others;
    is ask(POST => "Origin: $_\r\n$same"), $foreign, "from \"$_\", whatever else it says" for @others[0 .. 2];
    is ask(POST => "Origin: http://t\r\nOrigin: http://t\r\n"), $foreign, 'two';
    is ask(POST => "Origin: http://t\r\nOrigin: https://evil.example\r\n"), $foreign, 'another second one';
    is ask(POST => "Origin: https://evil.example\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"), $foreign, 'a form of another page';
    is ask(POST => "Referer: http://t/\r\n"), $foreign, 'a Referer is no Origin';
};

subtest 'GET and HEAD' => sub {
    for my $method (qw(GET HEAD)) {
        my $refused = $method eq 'HEAD' ? '403' : $foreign;
        is ask($method, $same), 'ann', "$method of the own pages names no origin";
        is ask($method, "Origin: $_\r\n"), 'ann', "$method from $_" for 'http://t', $app;
        is ask($method, ''), $refused, "$method that says nothing";
        is ask($method, "Sec-Fetch-Site: $_\r\n"), $refused, "$method that is $_" for qw(same-site cross-site none Same-Origin same-origin-x), '';
        is ask($method, "$same$same"), $refused, 'twice';
    }
    is ask(GET => "Origin: $_\r\n$same"), $foreign, "from \"$_\"" for @others;
};

subtest 'WebSockets' => sub {
    is ask(GET => "${upgrade}Origin: $_\r\n"), 'ann', "from $_" for 'http://t', $app;
    is ask(GET => "$upgrade$same"), $foreign, 'which always name their origin';
    is ask(GET => "${upgrade}Origin: $_\r\n$same"), $foreign, "from \"$_\"" for @others[0 .. 9];
};

subtest 'the cookie' => sub {
    my $own = "Origin: http://t\r\n";
    my $with = sub { return ask(GET => $own, '/v1/x', $_[0]) };
    is $with->("Cookie: $_\r\n"), 'ann', "among others: $_" =~ s/\Q$token\E/…/r for "a=b; __Host-si=$token", "__Host-si=$token; c", "x__Host-si=1;__Host-si=$token;__Host-si2=2", "; ;a;=;  __Host-si=$token";
    is $with->("Cookie: a=b\r\nCookie: __Host-si=$token\r\n"), 'ann', 'in the second field';
    is $with->("Cookie: $_\r\n"), '401 unauthorized', "none: $_" =~ s/\Q$token\E/…/gr for "x__Host-si=$token", "__host-si=$token", "__Host-si2=$token", '__Host-si', '__Host-si=', '', "__Host-si =$token",
        "__Host-si=$token; __Host-si=$token", '__Host-si=sk_si_x';
    is $with->("Cookie: __Host-si=$token\r\nCookie: __Host-si=" . token(sub => 'eve') . "\r\n"), '401 unauthorized', 'two, of which another host may have set one';
    is $with->('Cookie: __Host-si=' . token(exp => time - 9) . "\r\n"), '401 invalid_token', 'one that has expired';
    is $with->("Cookie: __Host-si=a.b.c\r\n"), '401 invalid_token', 'one that is none';
};

subtest 'other credentials go first' => sub {
    is ask(POST => "Authorization: Bearer " . token(sub => 'bo') . "\r\n"), 'bo', 'a token in a header needs no Origin';
    is ask(POST => "Authorization: Bearer sk_si_x\r\n", '/both'), 'nobody and a cookie', 'an API key is for the worker';
    is ask(POST => "X-Api-Key: sk_si_x\r\n", '/both'), 'nobody and a cookie', 'in the other header, too';
    is ask(GET => '', '/v1/events?ticket=x'), 'nobody and a cookie', 'and so is a ticket';
    is ask(POST => '', '/both'), $foreign, 'where keys are taken, a cookie from elsewhere is refused all the same';
    is ask(POST => '', '/off'), '401 unauthorized', 'where it is switched off, it is none';
    is ask(OPTIONS => ''), 'nobody and a cookie', 'OPTIONS needs none';
};

subtest 'limits' => sub {
    is ask(POST => "Origin: https://evil.example\r\n", '/limited'), $foreign, 'what is refused' for 1 .. 5;
    is ask(POST => "Origin: http://t\r\n", '/limited'), 'ann', 'is not charged to the owner' for 1 .. 3;
    is ask(POST => "Origin: http://t\r\n", '/limited'), '429 rate_limited', 'who has a limit';
};

subtest 'over TLS' => sub {
    for (['http://t', '403'], ['https://t', '204'], ['https://evil.example', '403']) {
        my ($origin, $status) = @$_;
        open my $fh, '-|', 'curl', '-sk', '-m', 30, '-o', '/dev/null', '-w', '%{http_code}', '-X', 'POST', '-H', 'Host: t', '-H', "Origin: $origin", '-H', "Cookie: __Host-si=$token", "https://127.0.0.1:$edge->{tls_port}/v1/x" or die "curl: $!";
        $w->call->head(204)->end if $status == 204;
        is scalar(<$fh>), $status, "from $origin";
        close $fh;
    }
};

subtest 'wrong configurations' => sub {
    for ('si_auth_cookie a=b;', 'si_auth_cookie "";', 'si_auth_cookie "a b";', 'si_auth_cookie;', 'si_auth_cookie a b;', 'si_auth_cookie a; si_auth_cookie b;') {
        my $bad = SI::Edge->new(location => $_);
        $bad->write_conf;
        my $out = `$bad->{nginx} -t -p $bad->{dir} -c $bad->{dir}/nginx.conf -e $bad->{dir}/logs/error.log 2>&1`;
        ok $? != 0 && $out =~ /\[emerg\].*si_auth_cookie/, $_ or diag $out;
    }
};

$edge->stop;
done_testing;
