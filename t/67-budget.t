# Budgets and rates: exact under concurrency and over two nodes, given back when a worker dies, summed up anew when Redis has
# lost them, shared out when it is away; what clients are told; what an agent does before it gives up.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $url = $model->base_url;
my $config = <<"YAML";
lease: 3s
gateway: { deadline: 15s, attempts: 1, restarts: 0, cooldown: 1ms, breaker_calls: 10000, wait: 2s, budget_output: 10 }
providers:
  fake: { kind: openai, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
models:
  free: { provider: fake, upstream: fake-1 }
  dear: { provider: fake, upstream: fake-1, price: { output: 1 } }
  wide: { provider: fake, upstream: fake-1, price: { input: 1, output: 1 } }
  narrow: { provider: fake, upstream: fake-1, fallback: [free] }
  alone: { provider: fake, upstream: fake-1 }
default_model: free
agents:
  @{[join "\n  ", map { "$_: { model: free }" } qw(one two dies lost shared closed hurried flushed greedy)]}
  spender: { model: dear }
  spender2: { model: wide }
  burst: { model: wide }
  chatty: { model: wide, over_budget_keep: 50, over_budget_models: [free] }
  proud: { model: dear }
budgets:
  @{[join "\n  ", map { "$_: { per: all, agent: $_, period: total, calls: 100 }" } qw(one two dies lost shared flushed)]}
  burst: { per: all, agent: burst, period: total, dollars: 10 }
  closed: { per: all, agent: closed, period: total, calls: 100, away: closed }
  spender: { per: all, agent: spender, period: total, dollars: 0.0001 }
  chatty: { per: all, agent: chatty, period: total, dollars: 0.00015 }
  spender2: { per: all, agent: spender2, period: total, dollars: 1000000000 }
  proud: { per: user, agent: proud, period: month, dollars: 0.000005 }
rates:
  hurried: { per: user, agent: hurried, requests: 2 }
  greedy: { per: user, agent: greedy, tokens: 1000 }
  narrow: { per: all, model: narrow, tokens: 30 }
  alone: { per: all, model: alone, requests: 60 }
YAML
my $one = SI::Test->start(workers => 2, config => $config);
(my $hasty = $config) =~ s/deadline: 15s/deadline: 6s/;
my $two = $one->node(2, workers => 1, config => $hasty);

my $path = '/v1/chat/completions';
my %hello = (messages => [{ role => 'user', content => 'Hello' }]);

sub chat { my ($si, $name, %more) = @_; return $si->json(POST => $path, { model => $name, %hello, %more }) }

# n calls at once, one connection each, at the nodes in turn: [status, code] of each.
sub race {
    my ($name, $n, $more, @nodes) = @_;
    my $body = JSON::PP::encode_json({ model => $name, %hello, %{ $more || {} } });
    my @all = map {
        my $si = $nodes[$_ % @nodes];
        SI::Test::Stream->new(port => $si->port, method => 'POST', path => $path, keep_body => 1, request_body => $body,
            headers => $si->auth({ 'Content-Type' => 'application/json', Connection => 'close' }))
    } 0 .. $n - 1;
    return map { SI::Test::answer($_, 60) } @all;
}

sub passed { return scalar grep { $_->{status} == 200 } @_ }
sub counter { my ($name, $field) = @_; my ($key) = grep { !/rate/ } split /\n/, $one->redis(KEYS => "si:{budget}:$name:*"); return $one->redis(HGET => $key // 'none', $field) }
# What the ledger says of an agent, when all rows are there: micro-dollars; calls.
sub ledger { my $name = shift; return ($one->pg("SELECT coalesce(sum(cost_micros), 0) FROM usage WHERE agent = '$name'"))[0] }
sub calls { my $name = shift; return ($one->pg("SELECT count(*) FROM usage WHERE agent = '$name' AND (outcome = 'ok' OR input_tokens + output_tokens > 0)"))[0] }
sub metric_all { my ($si, $name) = @_; my $sum = 0; $sum += $_ for $si->http(GET => '/metrics')->{body} =~ /^\Q$name\E(?:\{[^}]*\})? (\d+)$/mg; return $sum }
sub metric { my ($si, $name, $label) = @_; my $sum = 0; $sum += $_ for $si->http(GET => '/metrics')->{body} =~ /^\Q$name\E\{[^}]*\Q$label\E[^}]*\} (\d+)$/mg; return $sum }

subtest 'a hundred calls on one node' => sub {
    my @r = map { race('one', 64, undef, $one) } 1 .. 3;
    is passed(@r), 100, 'exactly 100 of 192 pass';
    is_deeply [sort keys %{ { map { $_->{status} => 1 } @r } }], [200, 429], 'the others are told';
    is counter(one => 'used'), 100, 'so many are used';
    is counter(one => 'held'), 0, 'and none is held';
    is metric($one, 'si_budget_refusals_total', 'budget="one"'), 92, 'refusals are counted';
};

subtest 'a hundred calls on two nodes' => sub {
    my @r = map { race('two', 64, undef, $one, $two) } 1 .. 3;
    is passed(@r), 100, 'exactly 100 of 192 pass';
    cmp_ok metric($_, 'si_budget_refusals_total', 'budget="two"'), '>', 0, 'refused on this node, too' for $one, $two;
};

# Calls that never end, at a node that dies with all it has: see the end of this file.
$model->default(kind => 'hang');
my $before = $model->count;
my @lost = map { $two->stream(POST => $path, { model => 'lost', %hello, stream => JSON::PP::true }) } 1 .. 5;
$model->wait_request($before + 5);
is counter(lost => 'held'), 5, 'five calls are held';
$two->kill_node;

subtest 'a worker that dies' => sub {
    my $n = $model->count;
    my @calls = map { $one->stream(POST => $path, { model => 'dies', %hello, stream => JSON::PP::true }) } 1 .. 8;
    $model->wait_request($n + 8);
    is counter(dies => 'held'), 8, 'eight calls are held';
    my @pids = $one->worker_pids;
    kill STOP => @pids;
    $_->close for @calls;       # or the edge would send them to the next worker
    $one->kill9($_) for @pids;
    poll_until { counter(dies => 'held') eq '0' } 30, 'what they held to be settled';
    pass 'nothing is held';
    is_deeply [ledger('dies'), calls('dies')], [0, counter(dies => 'used')], 'what is used is what the ledger knows of';
    $model->default(kind => 'tokens', tokens => 5);
    poll_until { chat($one, 'free')->{status} == 200 } 30, 'the workers that come after';
};

subtest 'dollars' => sub {
    my @r = map { race('spender', 32, { max_tokens => 10 }, $one) } 1 .. 2;
    cmp_ok passed(@r), '>=', 10, 'ten at least, as each reserves 10 of 100';
    cmp_ok counter(spender => 'used'), '<=', 100, 'no more than there is';
    is counter(spender => 'used'), 5 * passed(@r), 'and what they took in the end';
    my $more = 0;
    $more++ while chat($one, 'spender', max_tokens => 5)->{status} == 200;
    is counter(spender => 'used'), 100, 'to the last one';
    is $more + passed(@r), 20, 'twenty calls of five';
    poll_until { ledger('spender') == 100 } 30, 'the ledger to have them all';
    is calls('spender'), 20, 'it says the same';
};

subtest 'a burst in which workers die' => sub {
    $model->default(kind => 'tokens', tokens => 3, first_ms => 300);
    my @all = map { $one->stream(POST => $path, { model => 'burst', %hello, max_tokens => 5, stream => JSON::PP::true }) } 1 .. 60;
    my $n = $model->count;
    poll_until { $model->count >= $n + 20 || $model->count >= 20 + 60 } 30, 'calls under way';
    my @pids = $one->worker_pids;
    $one->kill9($pids[0]);
    $_->until_end for @all;
    $model->default(kind => 'tokens', tokens => 5);
    my ($key) = grep { !/rate/ } split /\n/, $one->redis(KEYS => 'si:{budget}:burst:money:*');
    # Killed between the reservation and the ledger's entry, a call is in Redis only: given back when it lapses, 18 s later.
    my ($held, $used, $ledger);
    my $agree = eval {
        poll_until { ($held, $used, $ledger) = ((map { $one->redis(HGET => $key, $_) || 0 } qw(held used)), ledger('burst')); $held == 0 && $used == $ledger && $used > 0 } 60, 'them to agree';
        1;
    };
    ok $agree, 'nothing is held, and the ledger says the same as the counter' or diag "held $held, used $used, ledger $ledger";
};

poll_until { counter(lost => 'held') eq '0' } 30, 'what the dead node held to lapse';
is counter(lost => 'used') || 0, 0, 'the dead node holds nothing any more';

subtest 'Redis loses its memory' => sub {
    is passed(race('flushed', 40, undef, $one)), 40, '40 of a hundred calls';
    poll_until { calls('flushed') == 40 } 30, 'the ledger to have them';
    my $before = metric_all($one, 'si_budget_rebuilt_total');
    $one->redis('FLUSHALL');
    is passed(map { race('flushed', 64, undef, $one) } 1 .. 2), 60, 'no more than the other 60 after that';
    is counter(flushed => 'used'), 100, 'a hundred in all';
    cmp_ok metric_all($one, 'si_budget_rebuilt_total'), '>', $before, 'which the ledger knew';
};

subtest 'what clients are told' => sub {
    chat($one, 'proud', max_tokens => 5);
    my $r = chat($one, 'proud', max_tokens => 5);
    is "$r->{status} $r->{json}{error}{type} $r->{json}{error}{code}", '429 insufficient_quota insufficient_quota', 'OpenAI';
    like $r->{json}{error}{message}, qr/"proud".*until \d{4}-\d\d-01T00:00:00Z/, 'by name, and until when';
    is $r->{headers}{'x-should-retry'}, 'false', 'its clients need not try again';
    $r = $one->json(POST => '/v1/responses', { model => 'proud', input => 'Hello', max_output_tokens => 5 });
    is "$r->{status} $r->{json}{error}{code}", '429 insufficient_quota', 'OpenAI, responses';
    $r = $one->json(POST => '/v1/messages', { model => 'proud', max_tokens => 5, %hello });
    is "$r->{status} $r->{json}{error}{type} $r->{json}{error}{details}{error_code}", '402 billing_error budget_exceeded', 'Anthropic';
    my $c = conversation($one);
    my @e = $one->stream(POST => "/v1/conversations/$c/turns", { input => 'Hello', agent => 'proud' })->until_end;
    is "$e[-1]{event} $e[-1]{data}{code}", 'turn.failed budget_exceeded', 'a turn';
};

subtest 'what an agent does before it gives up' => sub {
    # 400 tokens of history, of which the last 100 are the question: 1 each, and 10 for the answer.
    my @long = map { ({ role => 'user', content => 'x' x 400 }, { role => 'assistant', content => 'y' x 400 }) } 1 .. 2;
    my $r = $one->json(POST => $path, { model => 'chatty', max_tokens => 10, messages => [@long, { role => 'user', content => 'z' x 400 }] });
    is $r->{status}, 200, 'the call passes';
    is scalar @{ $model->request($model->count)->{json}{messages} }, 1, 'without the oldest messages';
    is $r->{json}{model}, 'fake-1', 'of the same model';
    my $used = counter(chatty => 'used');
    cmp_ok $used, '>', 0, 'for money';
    $r = $one->json(POST => $path, { model => 'chatty', max_tokens => 10, messages => [{ role => 'user', content => 'z' x 1000 }] });
    is $r->{status}, 200, 'when that does not suffice, a cheaper model answers';
    is counter(chatty => 'used'), $used, 'for nothing';
};

subtest 'rates' => sub {
    is_deeply [map { chat($one, 'hurried')->{status} } 1 .. 3], [200, 200, 429], 'two a minute';
    my $r = chat($one, 'hurried');
    is $r->{json}{error}{code}, 'rate_limited', 'with a code of its own';
    like $r->{json}{error}{message}, qr/"hurried" of 2 calls a minute/, 'by name';
    cmp_ok $r->{headers}{'retry-after'}, '>', 20, 'and when there is the next one';
    is metric($one, 'si_rate_refusals_total', 'rate="hurried"'), 2, 'refusals are counted';
    my $c = conversation($one);
    my @used = map { my @e = $one->stream(POST => "/v1/conversations/$c/turns", { input => 'Hello', model => 'narrow' })->until_end; $e[-1]{data}{model} } 1 .. 4;
    is $used[0], 'narrow', 'a model within its tokens a minute';
    is $used[-1], 'free', 'past them the next model of the route';
    is passed(race('alone', 60, undef, $one)), 60, 'a model without a next one';
    is chat($one, 'alone')->{status}, 200, 'is waited for, as it is not for long';
};

subtest 'numbers that no call has' => sub {
    my $most = '9223372036854775807';
    my $body = qq({"model":"greedy","messages":[{"role":"user","content":"Hello"}],"max_tokens":$most});
    $model->default(kind => 'step');
    my $n = $model->count;
    my $first = $one->stream(POST => $path, $body);
    $model->wait_request($n + 1);
    is $one->json(POST => $path, $body)->{status}, 429, 'a client that asks for the longest answer there is takes all of its rate';
    $model->finish($n + 1);
    $first->until_end;
    is $first->status, 200, 'and has its answer';
    $model->default(kind => 'tokens', tokens => 5, usage => { map { ($_ => JSON::PP->new->decode($most)) } qw(prompt_tokens completion_tokens total_tokens) });
    is chat($one, 'spender2')->{status}, 200, 'a provider that counts so';
    poll_until { calls('spender2') == 1 } 30, 'the ledger to have it';
    is_deeply [$one->pg("SELECT estimated, input_tokens < 100, output_tokens < 100 FROM usage WHERE agent = 'spender2'")], [['t', 't', 't']], 'is not believed';
    is counter(spender2 => 'held'), 0, 'the budget is settled';
    is counter(spender2 => 'used'), ledger('spender2'), 'with what the ledger says';
    $model->default(kind => 'tokens', tokens => 5);
};

subtest 'the budget of a key' => sub {
    my ($key) = create_key($one, 'demo', 'cheap', '--calls', '3/day', '--budget', '12.50/day');
    my $cheap = member($one, $key);
    my $c = conversation($cheap);
    is $cheap->json(POST => "/v1/conversations/$c/turns", { input => 'Hello' })->{json}{state}, 'completed', 'a turn counts';
    is_deeply [map { chat($cheap, 'free')->{status} } 1 .. 3], [200, 200, 429], 'as calls do';
    is $cheap->json(POST => "/v1/conversations/$c/turns", { input => 'Hello' })->{json}{error}{code} // '', 'budget_exceeded', 'and no more turns';
    is chat(member($one, create_key($one, 'demo', 'cheap')), 'free')->{status}, 200, 'another key of the same user has none';
    my ($listed) = grep { $_->{budget}{calls} == 3 } @{ $cheap->json(GET => '/v1/keys')->{json}{items} // $cheap->json(GET => '/v1/keys')->{json}{data} };
    is_deeply $listed->{budget}, { micro_dollars => 12500000, calls => 3, period => 'day' }, 'the key says so';
    my $admin = member($one, create_key($one, 'demo', 'boss', '--scopes', 'admin'));
    my $made = $admin->json(POST => '/v1/keys', { budget => { micro_dollars => 5, period => 'total' }, rate => { requests => 1 } });
    is_deeply [@{ $made->{json} }{qw(budget rate)}], [{ micro_dollars => 5, calls => 0, period => 'total' }, { requests => 1, tokens => 0 }], 'made over HTTP' or diag $made->{body};
    is_deeply [map { chat(member($one, $made->{json}{key}), 'free')->{status} } 1 .. 2], [200, 429], 'it holds';
    is_problem($admin->json(POST => '/v1/keys', { budget => { period => 'year' } }), 422, 'invalid_field', 'budget.period', 'a period that there is not');
    is_problem($admin->json(POST => '/v1/keys', { budget => { calls => -1 } }), 422, 'invalid_field', 'budget.calls', 'fewer than none');
};

subtest 'Redis is away' => sub {
    is passed(race('shared', 20, undef, $one)), 20, '20 of a hundred';
    chat($one, 'closed');
    $one->kill_redis;
    my $r;
    poll_until { $r = chat($one, 'closed'); $r->{status} == 503 } 30, 'a budget that is closed then';
    is $r->{json}{error}{code}, 'budget_unavailable', 'says so';
    cmp_ok $r->{headers}{'retry-after'}, '>=', 1, 'and to come back';
    my $here = passed(map { race('shared', 64, undef, $one) } 1 .. 3);
    # Each had the half of what was left when it heard last, which is one of 80 to 100.
    cmp_ok $here, '<=', 90, 'no more than what was left';
    cmp_ok $here, '>=', 20, 'but the workers have their shares of it';
    is metric_all($one, 'si_budget_away') > 0, 1, 'the metric says so';
    my @lines = SI::Test::slurp($one->dir . '/logs/worker.log') =~ /(each worker has its share until Redis answers)/g;
    cmp_ok scalar @lines, '<=', 2, 'and each worker one line of its log';
    $one->start_redis;
    poll_until { chat($one, 'closed')->{status} == 200 && metric_all($one, 'si_budget_away') == 0 } 30, 'Redis to count again';
    my $more = 0;
    poll_until { calls('shared') == 20 + $here } 30, 'the ledger to have all of them';
    $more += passed(race('shared', 32, undef, $one)) for 1 .. 4;
    is 20 + $here + $more, $here > 80 ? 20 + $here : 100, 'no more than a hundred after that';
};

$_->close for @lost;

done_testing();
