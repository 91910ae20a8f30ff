# Tokens of an identity provider at the edge: who gets in, who is told what, and that two tenants never meet.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use SI::Edge;
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use Test::More;

my $dir = File::Temp::tempdir('si-jwt-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('r1', 'RS256')->add('e1', 'ES256')->add('r2', 'RS256');
my $hmac = SI::Test::Jwt->new($dir);
$hmac->add('h1', 'HS256');
$idp->write("$dir/keys.json", 'r1', 'e1');
$hmac->write("$dir/secrets.json");

my $directives = "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si audience=si-app leeway=0s;\n"
    . "si_auth_jwt_keys file=$dir/keys.json secret=$dir/secrets.json;\nsi_auth_claim tenant custom:org;\nsi_auth_claim scopes scope;\n";
sub write_locations {
    open my $fh, '>', "$dir/si-locations.conf" or die $!;
    print $fh $directives, 'include ', root(), "/conf/si-locations.conf;\n";
    close $fh;
}
write_locations();

sub claims { my %c = (iss => 'https://id.example', sub => 'anna', aud => 'si', exp => time + 300, iat => time, 'custom:org' => 'acme', @_); delete $c{$_} for grep { !defined $c{$_} } keys %c; return \%c }
sub bearer { return { Authorization => "Bearer $_[0]" } }

my $si = SI::Test->start(workers => 2, nginx => "include $dir/si-locations.conf;si_stream_heartbeat 1s");
my $ann = member($si, create_key($si, 'acme', 'ann'));
create_key($si, 'umbrella', 'eve');

sub call { my ($token, $method, $path, $body) = @_; return $si->json($method || 'GET', $path || '/v1/conversations', $body, bearer($token)) }
sub tokens { return $si->status->{edge}{tokens} }

subtest 'a good token' => sub {
    my $token = $idp->token(claims(), kid => 'r1');
    my $made = call($token, POST => '/v1/conversations', { title => 'of a token' });
    is $made->{status}, 201, 'gets in';
    is call($token)->{json}{data}[0]{id} // '', $made->{json}{id}, 'and sees what it made';
    is call($idp->token(claims(aud => ['x', 'si-app']), kid => 'e1'))->{json}{data}[0]{id} // '', $made->{json}{id}, 'so does another token of the same user, by another key';
    is call($hmac->token(claims(), kid => 'h1'))->{status}, 200, 'HS256 with the secret that is configured';
    is_deeply [$si->pg("SELECT count(*) FROM user_identity WHERE provider = 'https://id.example' AND subject = 'anna'")], [1], 'the user was made once';
    my ($user) = $si->pg("SELECT user_id FROM user_identity WHERE subject = 'anna'");
    ok poll_until { slurp($si->dir . '/logs/access.log') =~ /"user":"$user"/ }, 'the access log names the user';
    my $t = tokens();
    is_deeply [@$t{qw(verified known)}], [3, 1], 'three tokens were verified, one was known';
};

subtest 'an API key goes to the worker' => sub {
    is $ann->json(GET => '/v1/conversations')->{status}, 200, 'a good one';
    is $si->http(GET => '/v1/conversations', bearer('sk_si_nobody'))->{status}, 401, 'a wrong one';
    is $si->http(GET => '/v1/conversations', { 'X-Api-Key' => $ann->key })->{status}, 200, 'a good one in X-Api-Key';
    is $si->http(GET => '/v1/conversations', { 'X-Api-Key' => 'sk_si_nobody' })->{status}, 401, 'and a wrong one';
    is $si->http(GET => '/v1/conversations', { 'X-Api-Key' => $ann->key, Authorization => 'Bearer sk_si_nobody' })->{status}, 401, 'Authorization goes first';
    is $si->http(GET => '/v1/conversations')->{json}{code} // 'unauthorized', 'unauthorized', 'none';
};

subtest 'what is refused' => sub {
    my $none = $idp->token(claims(), kid => 'r1', header => { alg => 'none' }, unsigned => 1);
    my $good = $idp->token(claims(), kid => 'r1');
    my @cases = (
        ['expired', 'the token has expired', $idp->token(claims(exp => time - 5), kid => 'r1')],
        ['exp_missing', 'the token has no end', $idp->token(claims(exp => undef), kid => 'r1')],
        ['not_yet_valid', 'the token is not valid yet', $idp->token(claims(nbf => time + 120), kid => 'r1')],
        ['audience', 'the token is not meant for this service', $idp->token(claims(aud => 'other'), kid => 'r1')],
        ['issuer', 'the token is not meant for this service', $idp->token(claims(iss => 'https://evil.example'), kid => 'r1')],
        ['typ', 'the token is not meant for this service', $idp->token(claims(), kid => 'r1', header => { typ => 'logout+jwt' })],
        ['alg_none', "the token's signature cannot be verified", $none],
        ['alg_mismatch', "the token's signature cannot be verified", $idp->token(claims(), kid => 'r1', secret => slurp("$dir/r1.pem"))],
        ['kid_unknown', "the token's signature cannot be verified", $idp->token(claims(), kid => 'r2')],
        ['signature', "the token's signature cannot be verified", $idp->token(claims(), kid => 'r2', header => { kid => 'r1' })],
        ['crit', "the token's signature cannot be verified", $idp->token(claims(), kid => 'r1', header => { crit => ['x'] })],
        ['malformed', 'the token is malformed', 'a.b.c'],
        ['subject', 'the token names no user', $idp->token(claims(sub => undef), kid => 'r1')],
        ['tenant', 'the token names no tenant', $idp->token(claims('custom:org' => undef), kid => 'r1')],
        ['claims', 'the token is malformed', $idp->token('[]', kid => 'r1')],
    );
    for (@cases) {
        my ($reason, $text, $token) = @$_;
        my $r = call($token);
        is "$r->{status} $r->{json}{code}", '401 invalid_token', $reason;
        is $r->{json}{detail}, $text, 'what the client is told';
        is $r->{headers}{'www-authenticate'}, qq{Bearer realm="si", error="invalid_token", error_description="$text"}, 'RFC 6750';
        ok tokens()->{refused}{$reason}, 'the reason is counted';
        my ($n) = $si->http(GET => '/metrics')->{body} =~ /^si_auth_tokens_total\{result="$reason"\} (\d+)$/m;
        is $n, tokens()->{refused}{$reason}, 'in the metrics, too';
    }
    substr($good, -10, 1) = substr($good, -10, 1) eq 'A' ? 'B' : 'A';
    is call($good)->{status}, 401, 'a changed signature';
    my $post = call($cases[0][2], POST => '/v1/conversations', { title => 'x' x 20000 });
    is $post->{status}, 401, 'with a body, too';
};

subtest 'the tenant decides' => sub {
    my $r = call($idp->token(claims('custom:org' => 'nobody'), kid => 'r1'));
    is "$r->{status} $r->{json}{code}", '403 unknown_tenant', 'an unknown tenant';
    is_deeply [$si->pg("SELECT count(*) FROM tenant WHERE name = 'nobody'")], [0], 'is not made';
    my ($acme, $umbrella) = map { $idp->token(claims('custom:org' => $_, sub => 'bo'), kid => 'e1') } qw(acme umbrella);
    my $id = call($acme, POST => '/v1/conversations', {})->{json}{id};
    is call($acme, GET => "/v1/conversations/$id")->{status}, 200, 'its own conversation';
    is call($umbrella, GET => "/v1/conversations/$id")->{status}, 404, 'the same subject of another tenant does not see it';
    is_deeply call($umbrella)->{json}{data}, [], 'nor in a list';
    is $ann->json(GET => "/v1/conversations/$id")->{status}, 404, 'nor does another user of the tenant';
    my ($uuid) = $si->pg("SELECT tenant_id FROM tenant WHERE name = 'acme'");
    is call($idp->token(claims('custom:org' => $uuid, sub => 'bo'), kid => 'e1'), GET => "/v1/conversations/$id")->{status}, 200, 'a tenant may be named by its id';
    is_deeply [$si->pg("SELECT count(*) FROM user_identity WHERE subject = 'bo'")], [2], 'two users';
};

subtest 'many at first sight' => sub {
    my $token = $idp->token(claims(sub => 'crowd'), kid => 'r1');
    my @streams = map { SI::Test::Stream->new(port => $si->port, method => 'GET', path => '/v1/conversations', keep_body => 1, headers => { Connection => 'close', %{ bearer($token) } }) } 1 .. 8;
    is_deeply [map { $_->head; $_->status } @streams], [(200) x 8], 'all get in';
    is_deeply [$si->pg("SELECT count(*) FROM user_identity WHERE subject = 'crowd'"), $si->pg("SELECT count(*) FROM app_user WHERE name LIKE 'idp-%' AND user_id NOT IN (SELECT user_id FROM user_identity)")],
        [1, 0], 'as one user';
};

subtest 'the end of a token' => sub {
    my $token = $idp->token(claims(exp => time + 3, sub => 'brief'), kid => 'r1');
    my $id = call($token, POST => '/v1/conversations', {})->{json}{id};
    my $s = $si->stream(GET => "/v1/conversations/$id/events", undef, bearer($token));
    is $s->head && $s->status, 200, 'a stream is open';
    ok $s->wait_event('auth.expired'), 'it is told';
    poll_until { $s->ended } undef, 'the end of the stream';
    is $s->complete, 1, 'and ends in order';
    is call($token)->{json}{detail}, 'the token has expired', 'the token that was known is refused';
};

subtest 'keys are changed by a reload' => sub {
    my ($old, $new) = map { $idp->token(claims(), kid => $_) } qw(r1 r2);
    is call($old)->{status}, 200, 'the old key';
    $idp->write("$dir/keys.json", 'r2');
    kill HUP => $si->nginx_pid;
    ok poll_until { call($new)->{status} == 200 && call($old)->{status} == 401 }, 'only the new one, also for a token that was known';
};

# The edge alone: what the worker is told, and by whom.
subtest 'an identity is the edge\'s to say' => sub {
    $idp->write("$dir/keys.json", 'r1');
    my $edge = SI::Edge->new(location => "si_auth jwt;\nsi_auth_jwt issuer=https://id.example client=app token_use=access tenant=house;\nsi_auth_jwt_keys file=$dir/keys.json;\n"
        . 'si_auth_claim user username;si_auth_claim scopes scp;');
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link;
    my $token = $idp->token(claims(client_id => 'app', token_use => 'access', username => "Ann \x{e9}", scp => ['read', 'write']), kid => 'r1');
    my $c = $edge->get('/x', head => "Authorization: bearer $token\r\nIssuer: me\r\nSubject: root\r\nX-Si-Subject: root\r\n");
    my $call = $w->call;
    is_deeply [@$call{qw(issuer subject org scopes)}], ['https://id.example', "Ann \xc3\xa9", 'house', 'read write'], 'issuer, subject, tenant and scopes';
    is_deeply [sort @{ $call->{list} }], [qw(host issuer subject x-si-subject)], 'headers are headers, and the token stays here';
    $call->head(204)->end;
    $c->wait_head;
    $c = $edge->get('/x', head => "X-Api-Key: $token\r\n");
    $call = $w->call;
    is $call->{subject}, "Ann \xc3\xa9", 'a token in X-Api-Key';
    is_deeply $call->{list}, ['host'], 'which stays here, too';
    $call->head(204)->end;
    $c->wait_head;
    $c = $edge->get('/x', head => "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: si, si.bearer.$token\r\n");
    $call = $w->call;
    is $call->{subject}, "Ann \xc3\xa9", 'a token among the subprotocols';
    $call->head(204)->end;
    $c->wait_head;
    for (['no credential', ''], ['an API key where none is taken', "Authorization: Bearer sk_si_x\r\n"], ['another scheme', "Authorization: Basic $token\r\n"]) {
        $c = $edge->get('/x', head => $_->[1]);
        $c->wait_head;
        is $c->status, 401, $_->[0];
        like $c->header, qr/^WWW-Authenticate: Bearer realm="si"\r$/m, 'the challenge';
    }
    $c = $edge->client("OPTIONS /x HTTP/1.1\r\nHost: t\r\n\r\n");
    $call = $w->call;
    is $call->{subject}, undef, 'OPTIONS needs none';
    $call->head(204)->end;
    $c->wait_head;
    ok !$w->has('OPEN'), 'nothing else came to the worker';
    $edge->stop;
};

subtest 'what nginx does not start with' => sub {
    my $keys = "si_auth_jwt_keys file=$dir/keys.json;";
    my $policy = 'si_auth_jwt issuer=i audience=a tenant=t;';
    open my $fh, '>', "$dir/weak.json" or die $!;
    print $fh '{"keys":[{"kty":"oct","k":"MDEyMw"}]}';
    close $fh;
    for (['no keys', "si_auth jwt; $policy", qr/without si_auth_jwt_keys/], ['no issuer', "si_auth jwt; $keys si_auth_jwt audience=a tenant=t;", qr/without an issuer/],
        ['no audience', "si_auth jwt; $keys si_auth_jwt issuer=i tenant=t;", qr/without an audience/], ['no tenant', "si_auth jwt; $keys si_auth_jwt issuer=i audience=a;", qr/not one of/],
        ['two tenants', "si_auth jwt; $keys $policy si_auth_claim tenant org;", qr/not one of/], ['an unknown kind', 'si_auth magic;', qr/magic/],
        ['a secret as public key', "si_auth jwt; $policy si_auth_jwt_keys file=$dir/secrets.json;", qr/cannot be used: it has no key/],
        ['public keys as secrets', "si_auth jwt; $policy si_auth_jwt_keys secret=$dir/keys.json;", qr/cannot be used: it has no key/],
        ['a short secret', "si_auth jwt; $policy si_auth_jwt_keys secret=$dir/weak.json;", qr/cannot be used/],
        ['no file', "si_auth jwt; $policy si_auth_jwt_keys file=$dir/none.json;", qr/none\.json/], ['a leeway of a day', 'si_auth_jwt leeway=1d;', qr/leeway/]) {
        my ($name, $location, $want) = @$_;
        my $edge = SI::Edge->new(location => $location);
        $edge->write_conf;
        my $out = `$edge->{nginx} -t -p $edge->{dir} -c $edge->{dir}/nginx.conf -e $edge->{dir}/logs/error.log 2>&1`;
        ok $? != 0 && $out =~ $want, $name or diag $out;
    }
};

done_testing;
