# Who is asked, from the outside: a tenant's policy goes before the lists of agents, tasks and models; what it may not use it
# does not get; several keys and regions of a provider have their shares, and one that fails leaves its share to the others.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my %at = map { $_ => SI::Model->start } qw(north south house);
my %url = map { $_ => $at{$_}->base_url } keys %at;
my $si = SI::Test->start(workers => 1, env => { SI_T_N => 'key-n', SI_T_S => 'key-s', SI_T_S2 => 'key-s2' }, config => <<"YAML");
gateway: { attempts: 2, backoff: 10ms, backoff_max: 20ms, cooldown: 1m, breaker_calls: 20, breaker_percent: 20, breaker_open: 1h, key_rest: 1h }
providers:
  many:
    kind: openai
    base_url: "$url{south}"
    endpoints:
      north: { base_url: "$url{north}", api_key: env:SI_T_N, weight: 6 }
      south: { api_key: env:SI_T_S, weight: 3 }
      second: { api_key: env:SI_T_S2 }
  house: { kind: openai, base_url: "$url{house}", api_key: env:SI_TEST_MODEL_KEY }
  gone: { kind: openai, base_url: "http://models.invalid/v1" }
  down: { kind: openai, base_url: "http://127.0.0.1:1/v1" }
models:
  @{[map { ("$_: { provider: $_ }\n ", "v-$_: { provider: $_, upstream: v, type: embeddings }\n ") } qw(gone down)]}
  says: { provider: house }
  v-says: { provider: house, upstream: v, type: embeddings }
  common: { provider: many, upstream: common-1 }
  dear: { provider: many, upstream: dear-1 }
  house: { provider: house, upstream: house-1 }
  cheap: { provider: house, upstream: cheap-1 }
  vectors: { provider: many, upstream: vectors-1, type: embeddings, space: v, encoding: float, dimensions: 8 }
  vectors-house: { provider: house, upstream: vectors-2, type: embeddings, space: v, encoding: float, dimensions: 8 }
tasks:
  quick: { models: [common] }
  code: { models: [dear, common] }
  embeddings: { models: [vectors] }
agents:
  dev: { model: common, fallback: [house] }
  coder: { task: code }
default_agent: dev
default_model: common
YAML

my %who = (nobody => $si, map { $_ => member($si, create_key($si, $_, 'ann')) } qw(own strict));
my %id = map { $_ => $si->pg("SELECT tenant_id FROM tenant WHERE name = '$_'") } qw(own strict);
open my $fh, '>>', $si->dir . '/overlay.yaml' or die $!;
print $fh <<"YAML";
tenants:
  $id{own}:
    routes: { dev: { models: [house] }, code: { models: [cheap, common] }, quick: { models: [house] }, dear: { models: [cheap] }, embeddings: { models: [vectors-house] } }
  $id{strict}: { models: [common, vectors] }
YAML
close $fh;
kill HUP => $si->master_pid;

# What the mocks have been asked since the last time: "place upstream" of each request.
my %seen = map { $_ => 0 } keys %at;
sub asked {
    my @all;
    for my $place (sort keys %at) {
        push @all, map { "$place " . $at{$place}->request($_)->{json}{model} } $seen{$place} + 1 .. $at{$place}->count;
        $seen{$place} = $at{$place}->count;
    }
    return join ', ', map { s/^(?:north|south) /many /r } @all;
}
sub chat { my ($who, $name) = @_; return $who{$who}->json(POST => '/v1/chat/completions', { model => $name, messages => [{ role => 'user', content => 'Hello' }] }) }
sub chosen { my $r = chat(@_); return $r->{status} == 200 ? asked() : join ' ', $r->{status}, $r->{json}{error}{code} }

poll_until { chosen(own => 'dev') eq 'house house-1' } 30, 'the policies of tenants';

subtest 'one tenant is routed elsewhere than another' => sub {
    for (['dev', 'many common-1', 'house house-1', 'many common-1', 'an agent with a model'],
         ['coder', 'many dear-1', 'house cheap-1', 'many common-1', 'an agent with a task'],
         ['code', 'many dear-1', 'house cheap-1', 'many common-1', 'a task'],
         ['dear', 'many dear-1', 'house cheap-1', '404 model_not_found', 'a model'],
         ['house', 'house house-1', 'house house-1', '404 model_not_found', 'a model that one may not use']) {
        my ($name, $nobody, $own, $strict, $what) = @$_;
        is_deeply [map { chosen($_ => $name) } qw(nobody own strict)], [$nobody, $own, $strict], $what;
    }
};

subtest 'in every face' => sub {
    my @said = (messages => [{ role => 'user', content => 'Hello' }]);
    for (['/v1/messages', { model => 'coder', max_tokens => 10, @said }], ['/v1/responses', { model => 'coder', input => 'Hello' }]) {
        my ($path, $body) = @$_;
        my @got = map { $who{$_}->json(POST => $path, $body)->{status} . ' ' . asked() } qw(nobody own strict);
        is_deeply \@got, ['200 many dear-1', '200 house cheap-1', '200 many common-1'], $path;
    }
    $_->default(kind => 'embed', dimensions => 8) for values %at;
    my @got = map { $who{$_}->json(POST => '/v1/embeddings', { model => 'embeddings', input => "of $_", encoding_format => 'float' })->{status} . ' ' . asked() } qw(nobody own strict);
    is_deeply \@got, ['200 many vectors-1', '200 house vectors-2', '200 many vectors-1'], '/v1/embeddings';
    $_->default(kind => 'tokens', tokens => 5) for values %at;
    my %turn = map { my $w = $_; ($w => run_turn($who{$w}, conversation($who{$w}), { input => 'Hello', agent => 'coder' })) } qw(nobody own strict);
    is_deeply [map { "$turn{$_}{state} $turn{$_}{model}" } qw(nobody own strict)], ['completed dear', 'completed cheap', 'completed common'], 'a turn';
    my %models = map { my $w = $_; ($w => { map { $_->{id} => 1 } @{ $who{$w}->json(GET => '/v1/models')->{json}{data} } }) } keys %who;
    is_deeply [map { my $w = $_; scalar grep { $models{$w}{$_} } qw(common dear house cheap) } qw(nobody own strict)], [4, 4, 1], 'and in the list of models';
    asked();
};

subtest 'a list is asked in its order' => sub {
    $at{house}->default(kind => 'status', status => 404);
    is chosen(own => 'code'), 'house cheap-1, many common-1', "a tenant's list: the next one of it";
    is chosen(own => 'dev'), '404 provider_rejected', 'and nobody else, where it has no other';
    like asked(), qr/^house house-1$/, 'though the agent has one';
    $at{house}->default(kind => 'tokens', tokens => 5);
    $_->default(kind => 'status', status => 404) for @at{qw(north south)};
    is chosen(nobody => 'dev'), 'house house-1, many common-1', "an agent's fallback";
    is chosen(strict => 'dev'), '404 provider_rejected', 'is not for whom it is not';
    is asked(), 'many common-1', 'who had the first one only';
    $_->default(kind => 'tokens', tokens => 5) for @at{qw(north south)};
};

# n calls at once of that model, by key of the provider: how many came there and were answered.
sub shares {
    my ($name, $n) = @_;
    my $body = JSON::PP::encode_json({ model => $name, messages => [{ role => 'user', content => 'Hello' }] });
    my $good = 0;
    for (1 .. $n / 20) {
        my @all = map { SI::Test::Stream->new(port => $si->port, method => 'POST', path => '/v1/chat/completions', keep_body => 1, request_body => $body,
            headers => $si->auth({ 'Content-Type' => 'application/json', Connection => 'close' })) } 1 .. 20;
        $good += grep { $_->{status} == 200 } map { SI::Test::answer($_, 60) } @all;
    }
    my %n = (good => $good, map { $_ => 0 } qw(n s s2));
    for my $place (qw(north south)) {
        for ($seen{$place} + 1 .. $at{$place}->count) {
            my ($key) = $at{$place}->request($_)->{headers}{authorization} =~ /^Bearer key-(\w+)$/;
            $n{ $key // 'none' }++;
            fail "key $key at $place" if ($place eq 'north') != ($key eq 'n');
        }
        $seen{$place} = $at{$place}->count;
    }
    return \%n;
}
# A test: within five standard deviations of the share: once in two million runs it is not.
sub share {
    my ($n, $of, $p, $what) = @_;
    cmp_ok abs($n - $of * $p), '<=', 5 * sqrt($of * $p * (1 - $p)), "$what: $n of $of";
}
sub metric { my ($name, $label) = @_; my ($n) = $si->http(GET => '/metrics')->{body} =~ /^\Q$name\E\{[^}]*\Q$label\E[^}]*\} (\d+)$/m; return $n }

subtest 'keys and regions have their shares' => sub {
    my $n = shares(common => 400);
    is $n->{good}, 400, 'all are answered';
    share($n->{n}, 400, 0.6, 'the key of the one region');
    share($n->{s}, 400, 0.3, 'the first key of the other');
    share($n->{s2}, 400, 0.1, 'the second one');
};

subtest 'a region that is down' => sub {
    $at{north}->refuse(1);
    my $n = shares(common => 200);
    is $n->{good}, 200, 'nobody notices';
    is $n->{n}, 0, 'nothing came there';
    share($n->{s}, 200, 0.75, 'the rest has its share of the rest');
    is metric(si_model_breaker_open => 'model="common",endpoint="many/north"'), 1, 'it is left out';
    is metric(si_model_breaker_open => 'model="common",endpoint="many/south"'), 0, 'and no other';
    $at{north}->refuse(0);
};

subtest 'a key that rests, and one that is refused' => sub {
    $at{north}->default(kind => 'status', status => 429, headers => { 'Retry-After' => 60 });
    my $n = shares(dear => 100);
    is $n->{good}, 100, '429: nobody notices';
    cmp_ok $n->{n}, '<=', 20, 'those who were under way have tried it';
    share($n->{s}, 100, 0.75, 'the others go on');
    is metric(si_model_key_rests => 'model="dear",endpoint="many/north"'), 1, 'it rests';
    $at{south}->next(kind => 'status', status => 401);
    $n = shares(dear => 100);
    is $n->{good}, 100, '401: nobody notices';
    my @up = map { metric(si_provider_key_up => "endpoint=\"many/$_\"") } qw(south second);
    is "@{[sort @up]}", '0 1', 'one of two keys at one place is left out';
    cmp_ok $up[0] ? $n->{s} : $n->{s2}, '>=', 80, 'the other key has its calls';
};

subtest 'no client learns where providers are' => sub {
    my $host = qr/\.invalid|127\.0\.0\.1/;
    for (['gone', qr/resolve/], ['down', qr/refused/], ['says', qr/no model at \[provider\]:1234 or http:\/\/\[provider\]\/v1, but 1127\.0\.0\.1/]) {
        my ($name, $reason) = @$_;
        my $body = '{"error":{"message":"no model at 127.0.0.1:1234 or http://127.0.0.1/v1, but 1127.0.0.1"}}';
        $at{house}->default(kind => 'status', status => 400, body => $body);
        my @said = (messages => [{ role => 'user', content => 'Hello' }]);
        my $turn = run_turn($si, conversation($si), { input => 'Hello', model => $name });
        my @told = ($turn->{error}{detail}, map { $_->{json}{error}{message} } $si->json(POST => '/v1/chat/completions', { model => $name, @said }),
            $si->json(POST => '/v1/messages', { model => $name, max_tokens => 10, @said }), $si->json(POST => '/v1/responses', { model => $name, input => 'Hello' }),
            $si->json(POST => '/v1/embeddings', { model => "v-$name", input => 'Hello' }));
        is scalar(grep { ($_ // '') =~ $reason && !/(?<!1)$host/ } @told), 5, "$name: the reason, and no host" or diag explain \@told;
    }
    my $log = slurp($si->dir . '/logs/worker.log');
    like $log, qr/"model call failed".*"why":"[^"]*models\.invalid/, 'the log says all';
    like $log, qr/"embedding failed".*"why":"[^"]*models\.invalid/, 'also of embeddings';
};

done_testing;
