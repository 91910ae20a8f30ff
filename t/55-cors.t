# si_cors: preflights, the headers of answers of all kinds, and origins that are not listed.
use strict;
use warnings;
use lib 't/lib';
use SI::Edge;
use Test::More;

my $app = 'https://app.example.com';
my $edge = SI::Edge->new(http => "si_cors $app http://localhost:3000;", location => 'client_max_body_size 1k;');
my $lock = SI::Edge::free_port();
$edge->{http} .= "
    server { listen 127.0.0.1:$lock; si_origin_secret X-Si-Origin $edge->{dir}/secrets; location / { si_pass main; } }";
open my $fh, '>', "$edge->{dir}/secrets" or die $!;
print $fh "a-secret-of-the-cdn\n";
close $fh;
my $w = $edge->worker(0);
$edge->start;
$w->wait_link;

# The header fields of an answer: { name in lower case => [values] }.
sub fields { my $head = $_[0]->header; my %f; push @{ $f{ lc $1 } }, $2 while $head =~ /^([\w-]+): (.*?)\r$/mg; return \%f }
sub ask { my ($method, $path, $head) = @_; return $edge->client("$method $path HTTP/1.1\r\nHost: t\r\n$head\r\n") }
sub allows {
    my ($f, $origin, $name) = @_;
    is_deeply $f->{'access-control-allow-origin'}, [$origin], "$name: its origin and no other";
    is_deeply $f->{'access-control-allow-credentials'}, ['true'], 'with credentials';
    like $f->{'access-control-expose-headers'}[0], qr/\b$_\b/, "shows $_" for qw(Retry-After RateLimit RateLimit-Policy ETag Location);
    is_deeply $f->{vary}, ['Origin'], 'caches are told';
}
sub denies {
    my ($f, $name) = @_;
    is_deeply [grep { /^access-control/ } sort keys %$f], [], "$name: nothing is allowed";
    is_deeply $f->{vary}, ['Origin'], 'caches are told';
}

subtest 'preflights' => sub {
    for my $origin ($app, 'http://localhost:3000') {
        my $c = ask(OPTIONS => '/v1/x', "Origin: $origin\r\nAccess-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: authorization\r\n");
        $c->wait_head;
        is $c->status, 204, 'answered';
        my $f = fields($c);
        allows($f, $origin, 'a preflight');
        like $f->{'access-control-allow-methods'}[0], qr/\b$_\b/, "allows $_" for qw(GET POST PATCH DELETE);
        like $f->{'access-control-allow-headers'}[0], qr/\b$_\b/, "allows $_" for qw(Authorization Content-Type Idempotency-Key If-Match Last-Event-ID Prefer);
        is $f->{'access-control-max-age'}[0], 7200, 'for two hours';
        $c->{in} = '';
        SI::Edge::write_all($c, "OPTIONS /y HTTP/1.1\r\nHost: t\r\nOrigin: $origin\r\nAccess-Control-Request-Method: GET\r\n\r\n");
        $c->wait_head;
        is $c->status, 204, 'and the connection goes on';
        $c->close;
    }
    for my $origin ('https://evil.example.com', "$app.evil.com", "$app/", 'https://APP.example.com', 'http://app.example.com', "$app:443", 'null', '*', "$app http://localhost:3000", substr($app, 0, -1)) {
        my $c = ask(OPTIONS => '/v1/x', "Origin: $origin\r\nAccess-Control-Request-Method: GET\r\n");
        $c->wait_head;
        denies(fields($c), $origin);
        $c->close;
    }
    my $c = ask(OPTIONS => '/v1/x', "Origin: $app\r\nOrigin: $app\r\nAccess-Control-Request-Method: GET\r\n");
    $w->call->head(405)->end;
    $c->wait_head;
    denies(fields($c), 'two origins');
    $c->close;
    ok !$w->has('OPEN'), 'no preflight came to a worker';
    $c = ask(OPTIONS => '/v1/x', "Origin: $app\r\n");
    $w->call->head(405, headers => ['Allow', 'GET'])->end;
    $c->wait_head;
    is $c->status, 405, 'an OPTIONS that is none is for the worker';
    $c->close;
};

subtest 'answers' => sub {
    my $c = ask(GET => '/v1/x', "Origin: $app\r\n");
    $w->call->json('{}');
    $c->wait_whole;
    allows(fields($c), $app, 'JSON');
    $c->close;
    $c = ask(GET => '/v1/x', "Origin: $app\r\n");
    $w->call->head(409, type => 'application/problem+json', length => 2)->data('{}')->end;
    $c->wait_whole;
    allows(fields($c), $app, 'an error of the worker');
    $c->close;
    $c = ask(GET => '/v1/events', "Origin: $app\r\n");
    my $call = $w->call->stream;
    $call->event('1.1', "id: 1.1\ndata: x\n\n")->attach(7, 'c:1');
    $c->wait_body(qr/data: x/);
    allows(fields($c), $app, 'a stream');
    $w->feed($call->{link}, 7, '1.2', "id: 1.2\ndata: y\n\n");
    $c->wait_body(qr/data: y/);
    like $c->body, qr/data: x\n\nid: 1.2\ndata: y\n\n/, 'which goes on';
    $c->close;
    $c = ask(POST => '/v1/x', "Origin: $app\r\nContent-Length: 4000\r\n");
    $c->wait_head;
    is $c->status, 413, 'too much';
    allows(fields($c), $app, 'an error of nginx');
    $c->close;
    $c = ask(GET => '/v1/x', "Origin: https://evil.example.com\r\n");
    $w->call->json('{}');
    $c->wait_whole;
    denies(fields($c), 'an answer to another origin');
    $c->close;
    $c = ask(GET => '/v1/x', '');
    $w->call->json('{}');
    $c->wait_whole;
    denies(fields($c), 'an answer to no origin');
    $c->close;
};

subtest 'the origin lock comes first' => sub {
    local $edge->{port} = $lock;
    my $c = ask(OPTIONS => '/v1/x', "Origin: $app\r\nAccess-Control-Request-Method: GET\r\n");
    $c->wait_head;
    is $c->status, 403, 'a preflight past the CDN is refused';
    $c->close;
    $c = ask(OPTIONS => '/v1/x', "Origin: $app\r\nAccess-Control-Request-Method: GET\r\nX-Si-Origin: a-secret-of-the-cdn\r\n");
    $c->wait_head;
    is $c->status, 204, 'with the secret it is answered';
    $c->close;
};

subtest 'wrong configurations' => sub {
    my $dir = $edge->{dir};
    for ('*', 'https://*.example.com', 'null', 'app.example.com', "$app/", "$app/x", 'https://App.example.com', 'https://', 'ftp://x', "$app *") {
        local $edge->{http} = "si_cors $_;";
        open my $out, '>', "$dir/bad.conf" or die $!;
        print $out $edge->conf;
        close $out;
        my $said = `$edge->{nginx} -t -p $dir -c $dir/bad.conf -e $dir/logs/bad.log 2>&1`;
        isnt $?, 0, "$_: refused";
        like $said, qr/\[emerg\].*si_cors.*is no origin/, 'and says why';
    }
};

$edge->stop;
done_testing;
