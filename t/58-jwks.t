# Keys of issuers: fetched by the workers, pushed to every nginx process, renewed, and kept while an issuer is away.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use SI::Edge;
use SI::FakeWorker;
use SI::Issuer;
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use Test::More;

my $KEYS = 1;           # kind of PUSH
my $dir = File::Temp::tempdir('si-jwks-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add("k$_", 'ES256') for 1 .. 5;

sub keys_of { $idp->write("$dir/set.json", map { "k$_" } @_); return slurp("$dir/set.json") }
sub claims { return { iss => 'https://id.example', sub => 'anna', aud => 'si', exp => time + 300, @_ } }
sub bearer { return { Authorization => "Bearer $_[0]" } }
sub token { my ($n, @more) = @_; return $idp->token(claims(@more), kid => "k$n") }

subtest 'the edge' => sub {
    my $edge = SI::Edge->new(location => 'si_auth jwt; si_auth_jwt issuer=https://id.example audience=si tenant=t; si_auth_jwt_keys issuer=id;');
    my $w = $edge->worker(0);
    $edge->start;
    my $link = $w->wait_link;
    my $ask = sub { my ($n, @more) = @_; return $edge->get('/x', head => 'Authorization: Bearer ' . token($n, @more) . "\r\n") };
    my $push = sub { my ($text, $at, %o) = @_; $w->push_frame($link, $KEYS, pack('Q<VC/a*', int(1000 * $at), $o{fresh} // 30_000, $o{name} // 'id') . $text) };
    my $pass = sub { my ($c, $what) = @_; $w->call->head(204)->end; $c->wait_head; is $c->status, 204, $what };
    my $is = sub { my ($c, $status, $what) = @_; $c->wait_head; is $c->status, $status, $what };

    my @early = map { $ask->($_) } 1, 3;
    is $w->frame('WANT')->{payload}, 'id', 'a token without any keys is a question to a worker';
    $early[1]->close;
    $push->(keys_of(1), time - 100, fresh => 1000);
    $pass->($early[0], 'and its request goes on when they come');

    my $new = $ask->(2);
    is $w->frame('WANT')->{payload}, 'id', 'a key that is not there, in keys that are not fresh, is another';
    $push->(keys_of(2), time - 200);
    $push->('{"keys":[]}', time);
    $push->('garbage', time);
    $push->(keys_of(2), time, name => 'other');
    $pass->($ask->(1), 'an older set, two that are none, and one of another name change nothing');
    $push->(keys_of(2), time - 50, fresh => 1000);
    $pass->($new, 'with the new ones it goes on');
    my $gone = $ask->(1);
    $is->($gone, 503, 'a token of a key that went waits, and nobody can say');
    like $gone->header, qr/^Retry-After: \d+\r$/m, 'so it should come again';
    like $gone->body, qr/"code":"keys_unavailable"/, 'the code';
    is $w->frame('WANT')->{payload}, 'id', 'whatever the worker does with the question';
    $is->($ask->(1), 503, 'the next one does not wait');
    $push->(keys_of(2), time);
    my $bad = $ask->(1);
    $is->($bad, 401, 'with fresh keys it is refused');
    like $bad->body, qr/"code":"invalid_token"/, 'as a wrong one';
    $pass->($ask->(2), 'the others go on');
    ok !$w->has('OPEN') && !$w->has('WANT'), 'nothing else came to the worker';
    like $edge->log, qr/keys of "id" refused, those before stay: it has no key that can be used/, 'the log';

    for (pack('Q<VC/a*', 1, 1, 'id'), pack('Q<VCa*', 1, 1, 200, 'id'), 'x') {
        $link = $w->wait_link;
        $w->push_frame($link, $KEYS, $_);
        SI::Edge::wait_for(sub { $link->{closed} }, 'the end of the link');
    }
    is scalar(() = $edge->log =~ /closed: malformed PUSH/g), 3, 'malformed ones';
    $edge->stop;
};

subtest 'Amazon Cognito' => sub {
    local @ENV{qw(AWS_REGION COGNITO_USER_POOL_ID COGNITO_CLIENT_ID)} = ('eu-west-1', 'eu-west-1_Pool', 'app');
    my $iss = 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool';
    my ($rc, $out) = SI::Test::run({}, SI::Test::build_dir() . '/si-worker', '-c', root() . '/conf/si.yaml', '-t');
    like $out, qr{^issuers\.cognito\.jwks_url = "\Q$iss\E/\.well-known/jwks\.json"    # environment:1$}m, 'the environment names the pool';
    for (['access', '', { client_id => 'app', token_use => 'access' }, { aud => 'app', token_use => 'id' }], ['id', 'token_use=id', { aud => 'app', token_use => 'id' }, { client_id => 'app', token_use => 'access' }]) {
        my ($what, $arg, $good, $wrong) = @$_;
        my $edge = SI::Edge->new(location => "si_auth jwt; si_auth_jwt cognito $arg tenant=t; si_auth_jwt_keys issuer=cognito;");
        my $w = $edge->worker(0);
        $edge->start;
        $w->push_frame($w->wait_link, $KEYS, pack('Q<VC/a*', 1000 * time, 30_000, 'cognito') . keys_of(1));
        my $ask = sub { return $edge->get('/x', head => 'Authorization: Bearer ' . $idp->token({ iss => $iss, sub => 'x', exp => time + 60, %{ $_[0] } }, kid => 'k1') . "\r\n") };
        my $c = $ask->($good);
        $w->call->head(204)->end;
        $c->wait_head;
        is $c->status, 204, "an $what token of the client";
        for my $c ($ask->($wrong), $ask->({ %$good, aud => 'b', client_id => 'b' })) {
            $c->wait_head;
            is $c->status, 401, 'and no other';
        }
        $edge->stop;
    }
};

my $issuer = SI::Issuer->start($dir);
my $url = $issuer->url;
my @short = ('Cache-Control' => 'public, max-age=1');
$issuer->put('/jwks.json', keys_of(1), @short);
$issuer->put('/oidc/.well-known/openid-configuration', qq({"issuer":"$url/oidc","jwks_uri":"$url/oidc/keys"}));
$issuer->put('/oidc/keys', keys_of(4));

open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si tenant=acme;\nsi_auth_jwt_keys issuer=id;\n",
    "location = /v1/oidc { si_auth jwt; si_auth_jwt issuer=$url/oidc audience=si tenant=acme; si_auth_jwt_keys issuer=oidc; si_pass si; }\n",
    grep { !/^ *si_limit/ } map { "$_\n" } split /\n/, slurp(root() . '/conf/si-locations.conf');
close $fh;
my $si = SI::Test->start(workers => 2, nginx_workers => 2, nginx => "include $dir/si-locations.conf",
    config => "auth: { keys_min: 1s, cache: 200ms }\nissuers:\n  id: { jwks_url: '$url/jwks.json' }\n  oidc: { issuer: '$url/oidc/' }\n");
create_key($si, 'acme', 'ann');
my $kept = $si->dir . '/run/keys/id.json';

sub status { return $si->http(GET => $_[1] || '/v1/conversations', bearer($_[0]))->{status} }
# Many enough to come to both nginx processes.
sub everywhere { my $t = shift; my %s; $s{ status($t) }++ for 1 .. 8; return join ' ', sort keys %s }
sub metric { my $name = shift; my $sum = 0; my $text = $si->http(GET => '/metrics')->{body}; $sum += $1 while $text =~ /^\Q$name\E(?:\{[^}]*\})? (\d+)$/mg; return $sum }
sub failures { return metric('si_worker_key_sets_failed_total') }
sub log_has { my $re = shift; poll_until { slurp($si->dir . '/logs/worker.log') =~ $re } undef, "the log: $re"; pass "the log: $re" }

subtest 'fetched' => sub {
    is everywhere(token(1)), 200, 'a token is good in both nginx processes';
    is status(token(4, iss => "$url/oidc"), '/v1/oidc'), 404, 'so is one whose keys were discovered';
    my %age = map { $_ => JSON::PP::decode_json(slurp($si->dir . "/run/keys/$_.json"))->{age} } qw(id oidc);
    is_deeply \%age, { id => 1000, oidc => 3_600_000 }, 'each keeps as long as it says, or as we do';
    is $issuer->asked('/oidc/keys'), 1, 'of two workers one has asked';
    ok !((stat $kept)[2] & 077), 'what is kept is for no other eyes';
    ok poll_until { metric('si_worker_issuers_known') == 4 }, 'two issuers are known to each worker';
};

subtest 'rotation' => sub {
    $issuer->put('/jwks.json', keys_of(1, 2), @short);
    my $t = token(2);
    my %s;
    poll_until { my $s = status($t); $s{$s}++; $s == 200 } undef, 'the new key';
    is join(' ', grep { $_ != 200 && $_ != 401 } keys %s), '', 'the new key is known in time';
    poll_until { everywhere($t) eq '200' } undef, 'both nginx processes';
    is everywhere(token(1)), 200, 'the old one goes on';
    $issuer->put('/jwks.json', keys_of(2), @short);
    poll_until { everywhere(token(1)) eq '401' } undef, 'the end of the old key';
    is everywhere($t), 200, 'the new one stays';
    my $before = $issuer->asked('/jwks.json');
    status(token(3)) for 1 .. 10;
    cmp_ok $issuer->asked('/jwks.json') - $before, '<', 10, 'tokens of unknown keys are no way to make us ask';
};

subtest 'what is no key set' => sub {
    for (['500', sub { $issuer->fail('/jwks.json', status => 500) }, qr/status 500/], ['garbage', sub { $issuer->put('/jwks.json', 'x') }, qr/jwks\.json: it is no JSON/],
        ['no keys', sub { $issuer->put('/jwks.json', '{"keys":[]}') }, qr/it has no key/], ['too long', sub { $issuer->put('/jwks.json', keys_of(2) . ' ' x 70_000) }, qr/longer than 60 KiB/]) {
        my ($what, $do, $re) = @$_;
        my $failed = failures();
        $do->();
        poll_until { failures() > $failed } undef, "$what to fail";
        is everywhere(token(2)), 200, "$what: the keys before stay";
        log_has($re);
    }
    my $asked = $issuer->asked('/jwks.json');
    $issuer->fail('/jwks.json', hang => 1);
    poll_until { $issuer->asked('/jwks.json') > $asked } undef, 'the question';
    is everywhere(token(2)), 200, 'no answer: the same';
    my $r = $si->http(GET => '/v1/conversations', bearer(token(3)));
    is $r->{status}, 503, 'nobody can say of another key whether it is one';
    ok $r->{headers}{'retry-after'}, 'with Retry-After';
    $issuer->stop;
    $issuer->up;
    $issuer->put('/jwks.json', keys_of(2, 3), @short);
    poll_until { everywhere(token(3)) eq '200' } undef, 'the issuer';
    pass 'all is well again';
};

subtest 'the issuer is away' => sub {
    $issuer->stop;
    my $failed = failures();
    poll_until { failures() > $failed } undef, 'a try in vain';
    is everywhere(token(3)), 200, 'the keys stay';
    $si->reload_nginx;
    is everywhere(token(3)), 200, 'new nginx processes know them';
    $si->kill9($_) for $si->worker_pids;
    poll_until { everywhere(token(3)) eq '200' } undef, 'new workers';
    $si->reload_nginx;
    is everywhere(token(3)), 200, 'and so do new workers, and what they tell';
    ok poll_until { status(token(5)) == 503 }, 'an unknown key is no 401, unless the keys were fresh a moment ago';

    chmod 0644, $kept;
    $si->kill9($_) for $si->worker_pids;
    log_has(qr/a key set that was kept is thrown away/);
    $si->reload_nginx;
    poll_until { status(token(3)) == 503 } undef, 'no keys';
    pass 'what others could have written is not used: 503';
    $issuer->up;
    poll_until { everywhere(token(3)) eq '200' } undef, 'the issuer';
    is everywhere(token(5)), '401', 'and an unknown key is refused';
};

subtest 'a description of another issuer' => sub {
    $issuer->put('/oidc/.well-known/openid-configuration', qq({"issuer":"https://evil.example","jwks_uri":"$url/oidc/keys"}));
    unlink $si->dir . '/run/keys/oidc.json', $si->dir . '/run/keys/oidc.lock';
    $si->kill9($_) for $si->worker_pids;
    log_has(qr/it is no description of this issuer/);
};

subtest 'Postgres hangs' => sub {
    poll_until { status(token(3)) == 200 } undef, 'new workers';
    my @frozen = $si->postgres_pids;
    # A route that asks nothing more; the conversation decides the worker.
    my @doors = map { "/v1/conversations/no-$_" } 1 .. 8;
    my $door = $doors[0];
    my $known = token(3);
    my $log = $si->dir . '/logs/access.log';
    my $before = length slurp($log);
    # A process of nginx may have no link yet to a worker that has just begun.
    poll_until { status($known, $_) for @doors; my %at = map { $_ => 1 } substr(slurp($log), $before) =~ /"worker":"(\d+)\./g; keys %at == 2 } undef, 'both workers';
    is status($known, $_), 404, 'a user is known to both workers' for @doors;
    kill STOP => @frozen;
    is status($known, $_), 404, 'and goes on, also when it is to be asked about again' for @doors;
    my $r = $si->http(GET => $door, bearer(token(3, sub => 'stranger')));
    is $r->{status}, 503, 'one that was not here before';
    ok $r->{headers}{'retry-after'}, 'with Retry-After';
    kill CONT => @frozen;
    poll_until { status(token(3, sub => 'stranger'), $door) == 404 } undef, 'Postgres';
};

done_testing;
