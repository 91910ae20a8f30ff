# The ledger of usage: what each call of a model took and cost is in Postgres, once, whatever happened to it, to Postgres and
# to the workers.
use strict;
use warnings;
use lib 't/lib';
use List::Util qw(sum0);
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $other = SI::Model->start;
my ($url, $safe) = ($model->base_url, $other->base_url);
my $si = SI::Test->start(model => undef, workers => 2, config => <<"YAML");
lease: 1s
gateway: { attempts: 1, restarts: 2, backoff: 10ms, breaker_calls: 10000 }
providers:
  fake: { kind: openai, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
  other: { kind: openai, base_url: "$safe" }
models:
  fake-1:
    provider: fake
    price: { input: 2.50, output: "10", cached_input: 1.25, cache_write: 3.125, reasoning: 12 }
  free: { provider: fake, upstream: fake-1 }
  pair:
    provider: fake
    upstream: fake-1
    price: { input: 1, output: 1 }
    fallback: [safe]
  words: { provider: lexical, price: { input: 3 } }
  safe: { provider: other, price: { input: 0.000001, output: 0 } }
default_model: fake-1
YAML

my @columns = qw(source agent model provider outcome input_tokens cached_tokens cache_write_tokens output_tokens reasoning_tokens cost_micros estimated);

# The rows of a condition, oldest first, once there are so many; each a hash.
sub rows {
    my ($n, $where) = @_;
    my $columns = join ',', 'usage_id', map { "$_\::text" } @columns, qw(user_id key_id turn_id duration_ms first_token_ms);
    my @names = ('usage_id', @columns, qw(user_id key_id turn_id duration_ms first_token_ms));
    my @rows;
    poll_until { @rows = $si->pg("SELECT $columns FROM usage WHERE $where ORDER BY at, usage_id"); @rows >= $n } 30, "$n rows of usage where $where";
    return map { my $r = $_; +{ map { $names[$_] => $r->[$_] } 0 .. $#names } } @rows;
}

sub is_row {
    my ($row, $want, $what) = @_;
    is_deeply { map { $_ => $row->{$_} } keys %$want }, $want, $what or diag explain $row;
}

sub ask { my ($name, %more) = @_; return $si->json(POST => '/v1/chat/completions', { model => $name, messages => [{ role => 'user', content => 'How much?' }], %more }) }

sub waiting { return $si->http(GET => '/metrics')->{body} =~ /^si_usage_waiting\S* (\d+)/mg }

my ($tenant) = $si->pg("SELECT name FROM tenant");
my ($user) = $si->pg("SELECT user_id FROM app_user");
my ($key) = $si->pg("SELECT key_id FROM api_key");

subtest 'what the provider counts is what it costs' => sub {
    my %usage = (prompt_tokens => 1000, completion_tokens => 100, total_tokens => 1100,
        prompt_tokens_details => { cached_tokens => 400, cache_write_tokens => 200 }, completion_tokens_details => { reasoning_tokens => 60 });
    $model->next(kind => 'tokens', usage => \%usage);
    my $r = ask('fake-1');
    is $r->{status}, 200, 'answered';
    is $r->{json}{usage}{prompt_tokens_details}{cached_tokens}, 400, 'the dialect says what was cached';
    is $r->{json}{usage}{completion_tokens_details}{reasoning_tokens}, 60, 'and what was reasoning';
    my ($row) = rows(1, "source = 'openai'");
    # 400 at 2.50, 400 at 1.25, 200 at 3.125, 40 at 10, 60 at 12
    is_row $row, { source => 'openai', agent => '', model => 'fake-1', provider => 'fake', outcome => 'ok', input_tokens => 1000, cached_tokens => 400,
        cache_write_tokens => 200, output_tokens => 100, reasoning_tokens => 60, cost_micros => 1000 + 500 + 625 + 400 + 720, estimated => 'false',
        user_id => $user, key_id => $key, turn_id => '' }, 'the row';
    cmp_ok $row->{first_token_ms}, '<=', $row->{duration_ms}, 'its times';

    $model->next(kind => 'tokens', usage => \%usage);
    my $t = run_turn($si, conversation($si), 'And a turn?');
    is_deeply $t->{usage}, { input_tokens => 1000, cached_tokens => 400, cache_write_tokens => 200, output_tokens => 100, reasoning_tokens => 60,
        cost_micros => 3245, cached_answer => JSON::PP::false(), estimated => JSON::PP::false() }, 'a turn says it, too';
    is_deeply $si->json(GET => "/v1/turns/$t->{id}")->{json}{usage}, $t->{usage}, 'also later';
    ($row) = rows(1, "source = 'turn'");
    is_row $row, { agent => 'default', model => 'fake-1', outcome => 'ok', cost_micros => 3245, user_id => $user, key_id => $key, turn_id => $t->{id} }, 'and has a row';

    $model->next(kind => 'tokens', usage => { prompt_tokens => 1, completion_tokens => 1 });
    ask('free');
    is_row((rows(1, "model = 'free'"))[0], { cost_micros => 0, input_tokens => 1, output_tokens => 1 }, 'without a price it is free, and counted');

    is $si->json(POST => '/v1/embeddings', { model => 'words', input => 'w' x 40 })->{status}, 200, 'vectors';
    is_row((rows(1, "operation = 'embeddings'"))[0], { model => 'words', outcome => 'ok', input_tokens => 10, output_tokens => 0, cost_micros => 30 }, 'cost, too');
    my $metrics = $si->http(GET => '/metrics')->{body};
    is sum0($metrics =~ /^gen_ai_client_cost_micro_dollars_total\{(?=\S*="$_->[0]")\S* (\d+)/mg), $_->[1], "the counter of $_->[0]" for ['fake-1', 6490], ['words', 30], ['free', 0];
    is sum0($metrics =~ /^si_model_tokens_total\{(?=\S*model="fake-1")(?=\S*kind="$_->[0]")\S* (\d+)/mg), $_->[1], "and of its tokens: $_->[0]"
        for ['input', 2000], ['cached_input', 800], ['cache_write', 400], ['output', 200], ['reasoning', 120];
};

subtest 'what is cut is estimated' => sub {
    $model->next(kind => 'step');
    my $n = $model->count + 1;
    my $s = $si->stream(POST => '/v1/chat/completions', { model => 'pair', stream => \1, messages => [{ role => 'user', content => 'x' x 400 }] });
    $model->wait_request($n);
    $model->go($n, 'forty bytes of an answer, exactly forty!');
    $s->wait_event('message');
    $s->close;
    is_row((rows(1, "outcome = 'cancelled'"))[0], { model => 'pair', input_tokens => 100, output_tokens => 10, cost_micros => 110, estimated => 'true' },
        'of a client that left: a token for four bytes');

    $model->next(kind => 'status', status => 400);
    ask('fake-1');
    is_row((rows(1, "outcome = 'provider_rejected'"))[0], { input_tokens => 0, output_tokens => 0, cost_micros => 0, estimated => 'false' }, 'what was refused took nothing');

    $model->next(kind => 'step');
    $n = $model->count + 1;
    my $conv = conversation($si);
    my $turn = post_turn($si, $conv, { input => 'Stop it', model => 'fake-1' });
    $model->wait_request($n);
    $model->go($n, 'y' x 80);
    $si->stream(GET => "/v1/turns/$turn->{id}/events")->wait_event('delta');
    $si->json(POST => "/v1/turns/$turn->{id}/cancel");
    my $t = wait_turn($si, $turn->{id});
    is $t->{state}, 'cancelled', 'a turn that is cancelled';
    my ($row) = rows(1, "turn_id = '$turn->{id}'");
    is_row $row, { outcome => 'cancelled', estimated => 'true' }, 'has its row';
    is $t->{usage}{cost_micros}, $row->{cost_micros}, 'and says the same cost';
    ok $t->{usage}{estimated}, 'as an estimate';
};

subtest 'what is thrown away is recorded' => sub {
    $model->next(kind => 'cut', after => 2);
    my $t = run_turn($si, conversation($si), { input => 'Fall back', model => 'pair' });
    is "$t->{state} $t->{model}", 'completed safe', 'another model answered';
    my @rows = rows(2, "turn_id = '$t->{id}'");
    is_row $rows[0], { model => 'pair', outcome => 'answer_cut', estimated => 'true', output_tokens => 2 }, 'the call that was thrown away';
    is_row $rows[1], { model => 'safe', provider => 'other', outcome => 'ok', estimated => 'false', cost_micros => 1 }, 'and the one that answered';
    is $t->{usage}{cost_micros}, 1, 'which the turn tells of';

    $model->next({ kind => 'status', status => 500 });
    is ask('pair')->{status}, 200, 'a call that falls back';
    is scalar(rows(2, "source = 'openai' AND model IN ('pair', 'safe') AND at > (SELECT max(at) FROM usage WHERE turn_id = '$t->{id}')")), 2, 'has two rows';
};

subtest 'a takeover' => sub {
    my $n = $model->count + 1;
    $model->next(kind => 'step');
    my $turn = post_turn($si, conversation($si), 'Who lives on?');
    $model->wait_request($n);
    $model->go($n, 'z' x 400);
    $si->stream(GET => "/v1/turns/$turn->{id}/events")->wait_event('delta');
    $si->kill9($_) for $si->worker_pids;
    my $t = wait_turn($si, $turn->{id});
    is $t->{state}, 'completed', 'it is answered after all';
    my @rows = rows(2, "turn_id = '$turn->{id}'");
    is scalar @rows, 2, 'two calls';
    is_row $rows[0], { outcome => 'worker_died', estimated => 'true', duration_ms => '' }, 'one that nobody has seen the end of';
    cmp_ok $rows[0]{input_tokens}, '>', 0, 'with what was sent';
    is_row $rows[1], { outcome => 'ok', estimated => 'false' }, 'and one that answered';
};

subtest 'who asks what it was' => sub {
    poll_until { ask('nobody')->{status} == 404 } 30, 'workers to serve again';
    my $bob = member($si, create_key($si, $tenant, 'bob'));
    my $admin = member($si, create_key($si, $tenant, 'chief', '--scopes', 'admin'));
    my $far = member($si, create_key($si, 'far away', 'root', '--scopes', 'admin'));
    $model->next(kind => 'tokens', usage => { prompt_tokens => 1_000_000, completion_tokens => 0 });
    is $bob->json(POST => '/v1/chat/completions', { model => 'fake-1', messages => [{ role => 'user', content => 'x' }] })->{status}, 200, 'a call of another user';
    my ($hers) = map { @$_ } $si->pg("SELECT user_id, tenant_id FROM app_user WHERE name = 'bob'");
    rows(1, "user_id = '$hers'");
    poll_until { 0 == sum0(waiting()) } 30, 'all rows to be stored';
    my ($calls, $cost, $mine, $estimated) = map { @$_ } $si->pg("SELECT count(*), sum(cost_micros), count(*) FILTER (WHERE user_id = '$user'), count(*) FILTER (WHERE estimated AND user_id = '$user') FROM usage");

    my $r = $si->json(GET => '/v1/usage')->{json};
    is "$r->{total}{calls} $r->{total}{estimated} $r->{group}", "$mine $estimated model", 'a user sees the own calls';
    is sum0(map { $_->{calls} } @{ $r->{data} }), $mine, 'all of them, by model';
    my ($first) = @{ $r->{data} };
    my ($sum) = $si->pg("SELECT sum(cost_micros) FROM usage WHERE user_id = '$user' AND model = 'fake-1'");
    is "$first->{name} $first->{cost_micros}", "fake-1 $sum", 'the dearest first';
    is_deeply $bob->json(GET => '/v1/usage?group=user')->{json}{data}, [{ name => $hers, calls => 1, failed => 0, estimated => 0, cached_answers => 0, input_tokens => 1_000_000,
        cached_tokens => 0, cache_write_tokens => 0, output_tokens => 0, reasoning_tokens => 0, cost_micros => 2_500_000 }], 'another user the others';
    $r = $admin->json(GET => '/v1/usage?group=user')->{json};
    is "$r->{total}{calls} $r->{total}{cost_micros}", "$calls $cost", 'an admin those of the tenant';
    is_deeply [sort map { $_->{name} } @{ $r->{data} }], [sort $user, $hers], 'of all users';
    is $far->json(GET => '/v1/usage')->{json}{total}{calls}, 0, 'and none of another tenant';
    for my $group (qw(model agent key day)) {
        $r = $admin->json(GET => "/v1/usage?group=$group")->{json};
        is sum0(map { $_->{calls} } @{ $r->{data} }), $calls, "the same by $group";
    }
    is $admin->json(GET => '/v1/usage?to=2026-01-01')->{json}{total}{calls}, 0, 'none before';
    my ($day) = $si->pg("SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD')");
    is $admin->json(GET => "/v1/usage?from=$day")->{json}{total}{calls}, $calls, 'all since a day';
    is_problem $si->json(GET => "/v1/usage?$_->[0]"), 422, 'invalid_field', $_->[1], $_->[0]
        for ['group=colour', 'group'], ['from=yesterday', 'from'], ['to=2026-02-31', 'to'], ['from=2020-01-01', 'from'], ['from=2026-02-02&to=2026-02-01', 'from'];

    my $dollars = sprintf '%.6f', $cost / 1e6;
    like sictl($si, 'usage', $tenant), qr/^model .*^fake-1 +\d+ .*^total +$calls +.* \Q$dollars\E$/ms, 'and sictl shows it';
    like sictl($si, 'usage', 'far away', '--group', 'day', '--from', '2026-01-01'), qr/^day .*\n(?!.*fake)/, 'of one tenant only';
};

subtest 'Postgres is away' => sub {
    my ($before) = $si->pg("SELECT count(*) FROM usage");
    # The key must be known to both workers: each has served a call of it.
    poll_until { ask('safe')->{status} == 200 && 2 == grep { $_ > 0 } $si->http(GET => '/metrics')->{body} =~ /^si_model_calls_total\{(?=\S*model="safe")(?=\S*outcome="ok")\S* (\d+)/mg } 30, 'both workers to serve';
    poll_until { 0 == sum0(waiting()) } 30, 'all rows to be stored';
    ($before) = $si->pg("SELECT count(*) FROM usage");
    my @frozen = $si->postgres_pids;
    kill STOP => @frozen;
    my $good = grep { ask('free')->{status} == 200 } 1 .. 10;
    is $good, 10, 'calls go on';
    is sum0(waiting()), 10, 'their rows wait';
    $si->kill9($_) for $si->worker_pids;
    kill CONT => @frozen;
    my @rows = rows($before + 10, 'true');
    is scalar @rows, $before + 10, 'when it is back every row is there once, though the workers died meanwhile';
    is scalar(grep { $_->{outcome} ne 'ok' } @rows[-10 .. -1]), 0, 'as it was';
};

subtest 'a burst, and workers that are killed' => sub {
    poll_until { ask('free')->{status} == 200 } 30, 'workers to serve';
    rows(1, "model = 'free' AND at > now() - interval '5 seconds'");
    my ($since) = $si->pg('SELECT clock_timestamp()');
    my (%seen, $held);
    for my $round (1 .. 3) {
        my $n = $model->count;
        $model->next(map { { kind => 'stall', after => 2, tokens => ['x' x 40, 'y' x 40] } } 1 .. 4);
        my @held = map { $si->stream(POST => '/v1/chat/completions', { model => 'fake-1', stream => \1, messages => [{ role => 'user', content => 'hold' }] }) } 1 .. 4;
        $_->wait_for(sub { $_->{raw} =~ /y{40}/ }) for @held;
        $held += @held;
        my @burst = map { $si->stream(POST => '/v1/chat/completions', { model => 'fake-1', stream => \1, stream_options => { include_usage => \1 },
            messages => [{ role => 'user', content => 'b' x (40 * $_) }] }) } 1 .. 12;
        for my $s (@burst) {
            my $e = $s->wait_for(sub { $_->{raw} =~ /"prompt_tokens":\d/ });
            $seen{input} += $1 if $e->{raw} =~ /"prompt_tokens":(\d+)/;
            $seen{output} += $1 if $e->{raw} =~ /"completion_tokens":(\d+)/;
            $seen{calls}++;
        }
        $si->kill9($_) for $si->worker_pids;
        poll_until { ask('nobody')->{status} == 404 } 30, 'workers to serve again';
        $_->close for @held, @burst;
    }
    my @all = rows($seen{calls} + $held, "at >= '$since'");
    my @ok = grep { $_->{outcome} eq 'ok' } @all;
    my @died = grep { $_->{outcome} eq 'worker_died' } @all;
    is scalar @all, $seen{calls} + $held, 'as many rows as calls';
    is scalar @ok, $seen{calls}, 'one for each answer that a client saw';
    is sum0(map { $_->{input_tokens} } @ok), $seen{input}, 'with as many tokens of input as they saw in all';
    is sum0(map { $_->{output_tokens} } @ok), $seen{output}, 'and of output';
    is scalar @died, $held, 'and one for each that was cut';
    is_deeply [map { "$_->{estimated} $_->{input_tokens} $_->{output_tokens}" } @died], [('true 1 20') x $held], 'with what was sent and had come';
    is join(' ', glob("$si->{dir}/run/journal/usage/*.new")), '', 'nothing is left over';
};

done_testing;
