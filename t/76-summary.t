# Over budget, an agent whose oldest messages are summed up by a cheap model: what it is given, what is sent instead, in turns and in
# three dialects; what it costs and where that is written; and that a summary which fails, is late or too dear is done without.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my ($model, $cheap) = (SI::Model->start, SI::Model->start(name => 'cheap'));
my ($url, $url2) = ($model->base_url, $cheap->base_url);
my @agents = qw(openai anthropic responses native broken empty hung left tools long blocked);
my $si = SI::Test->start(workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, cooldown: 1ms, breaker_calls: 10000, budget_output: 10 }
filters: { words: { words: [forbidden] } }
providers:
  fake: { kind: openai, base_url: "$url" }
  two: { kind: openai, base_url: "$url2" }
models:
  wide: { provider: fake, upstream: m, price: { input: 1, output: 1 } }
  cheap: { provider: two, upstream: c, price: { input: "0.1", output: "0.1" } }
  gold: { provider: two, upstream: c, price: { input: 100, output: 100 } }
  free: { provider: fake, upstream: m }
default_model: free
agents:
  @{[join "\n  ", map { "$_: { model: wide, over_budget_keep: 50, over_budget_summary: cheap, over_budget_summary_tokens: 50, prompt: Be brief. }" } grep { !/blocked|hung/ } @agents]}
  hung: { model: wide, over_budget_keep: 50, over_budget_summary: cheap, over_budget_summary_time: 300ms }
  blocked: { model: wide, over_budget_keep: 50, over_budget_summary: cheap, filters: [words] }
  golden: { model: wide, over_budget_keep: 50, over_budget_summary: gold }
budgets:
  each: { per: agent, period: total, dollars: 0.0003 }
YAML
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $usage = { prompt_tokens => 200, completion_tokens => 20 };
my ($asked, $summed) = (0, 0);
sub asked { return $model->request($model->wait_request(++$asked))->{json} }
sub summed { return $cheap->request($cheap->wait_request(++$summed))->{json} }
sub sums { $cheap->next(kind => 'tokens', tokens => [@_], usage => { prompt_tokens => 100, completion_tokens => 20 }) }
sub rows { return $si->pg("SELECT source || ' ' || model || ' ' || outcome || ' ' || cost_micros FROM usage WHERE agent = '$_[0]' ORDER BY at") }
sub used { my ($key) = grep { !/rate/ } split /\n/, $si->redis(KEYS => "si:{budget}:each:*:$_[0]*"); return $si->redis(HGET => $key // 'none', 'used') }
sub agree { my $a = shift; poll_until { ($si->pg("SELECT coalesce(sum(cost_micros), 0) FROM usage WHERE agent = '$a'"))[0] == (used($a) || -1) } undef, "ledger and budget of $a to agree"; pass "$a: the ledger's sum is the budget's" }
# What is said in a message, whatever form it has.
sub words { return join '', map { my $c = $_->{content}; !defined $c ? '' : ref $c ? map { $_->{text} // '' } @$c : $c } @_ }

my ($old, $answer, $new) = ('My dog is Rex. ' . 'x' x 785, 'y' x 800, 'z' x 300);
my %faces = (
    openai => ['/v1/chat/completions', { messages => [{ role => 'user', content => $old }, { role => 'assistant', content => $answer }, { role => 'user', content => $new }] }],
    anthropic => ['/v1/messages', { max_tokens => 10, messages => [{ role => 'user', content => $old }, { role => 'assistant', content => $answer }, { role => 'user', content => $new }] }],
    responses => ['/v1/responses', { input => [{ role => 'user', content => $old }, { role => 'assistant', content => $answer }, { role => 'user', content => $new }] }],
);
sub call { my ($agent, $face, %more) = @_; my $f = $faces{$face // 'openai'}; return $si->json(POST => $f->[0], { %{ $f->[1] }, model => $agent, %more }) }

# What is seen of a call whose past was summed up.
sub is_summed_up {
    my $name = shift;
    my ($s, $q) = (summed(), asked());
    like words($s->{messages}[1]), qr/^user: My dog is Rex.*\nassistant: y+\n$/s, "$name: the cheap model gets what is left out";
    is $s->{max_tokens}, 50, "$name: and a bound";
    unlike words(@{ $s->{messages} }), qr/z{9}/, "$name: not what stays";
    is_deeply [map { $_->{role} } @{ $q->{messages} }], [qw(system user user)], "$name: prompt, summary and question are sent" or diag JSON::PP::encode_json($q->{messages});
    like words($q->{messages}[1]), qr/summary.*\n\nThe dog is Rex\.$/s, "$name: the summary, as one";
    is words($q->{messages}[2]), $new, "$name: the question as it is";
    agree($name);
    my @r = rows($name);
    is_deeply [sort grep { /summary/ } @r], ['summary cheap ok 12'], "$name: the summary has its row";
}

subtest 'dialects' => sub {
    for my $face (sort keys %faces) {
        sums('The dog ', 'is Rex.');
        my $r = call($face, $face);
        is $r->{status}, 200, "$face: the call passes" or diag $r->{body};
        is_summed_up($face);
    }
};

subtest 'a turn' => sub {
    my $conv = conversation($si);
    $model->next(kind => 'tokens', tokens => [$answer]);
    is run_turn($si, $conv, { input => $old, model => 'free' })->{state}, 'completed', 'something was said before';
    asked();
    sums('The dog ', 'is Rex.');
    my $t = run_turn($si, $conv, { input => $new, agent => 'native' });
    is $t->{state}, 'completed', 'a turn passes';
    is_summed_up('native');
    like join("\n", rows('native')), qr/^turn wide ok/m, 'beside the turn\'s own';
};

subtest 'tools' => sub {
    my $call = { role => 'assistant', content => JSON::PP::null, tool_calls => [{ id => 'c1', type => 'function', function => { name => 'weigh', arguments => '{"what":"dog"}' } }] };
    my $result = { role => 'tool', tool_call_id => 'c1', content => '30 kg ' . 'r' x 400 };
    my @tools = (tools => [{ type => 'function', function => { name => 'weigh', parameters => { type => 'object' } } }]);
    sums('It weighs 30 kg.');
    my $r = call('tools', 'openai', @tools, messages => [{ role => 'user', content => $old }, $call, $result, { role => 'assistant', content => 'y' x 200 }, { role => 'user', content => 'And the cat?' },
        { %$call, tool_calls => [{ %{ $call->{tool_calls}[0] }, id => 'c2' }] }, { %$result, tool_call_id => 'c2', content => '4 kg' }]);
    is $r->{status}, 200, 'the call passes' or diag $r->{body};
    like words(summed()->{messages}[1]), qr/^user: My dog.*\nassistant: calls the tool weigh \{"what":"dog"\}\nuser: the tool says: 30 kg r+\nassistant: y+\n$/s, 'a call of a tool and its result are summed up together';
    my @m = @{ asked()->{messages} };
    is_deeply [map { $_->{role} } @m], [qw(system user user assistant tool)], 'or stay together';
    is $m[3]{tool_calls}[0]{id}, $m[4]{tool_call_id}, 'they are a pair';
    agree('tools');
};

# No summary: the oldest go without one.
sub is_cut {
    my ($name, $r, $system) = @_;
    is $r->{status}, 200, "$name: the call passes all the same" or diag $r->{body};
    my @m = @{ asked()->{messages} };
    is words(grep { $_->{role} eq 'user' } @m), $new, "$name: without the oldest messages, and without a summary";
    like slurp($si->dir . '/logs/worker.log'), qr/could not be summed up","agent":"$name"/, "$name: the log says so" if $name ne 'long';
    agree($name);
}

subtest 'no summary' => sub {
    $cheap->next(kind => 'status', status => 500);
    is_cut('broken', call('broken'));
    summed();
    $cheap->next(kind => 'tokens', tokens => [], finish_reason => 'stop');
    is_cut('empty', call('empty'));
    summed();
    $cheap->next(kind => 'hang');
    is_cut('hung', call('hung'));
    summed();
    ok $cheap->wait_closed($summed), 'one that is late is not waited for';
    sums('s' x 2000);
    is_cut('long', call('long'));
    summed();
    sums('This is forbidden.');
    is_cut('blocked', call('blocked'));
    summed();
    is_cut('golden', call('golden'));
    is $cheap->count, $summed, 'a summary that would be over the budget is not asked for';
    is scalar(grep { /summary/ } rows('golden')), 0, 'and is in no ledger';
};

subtest 'the client leaves' => sub {
    $cheap->next(kind => 'hang');
    my $s = $si->stream(POST => '/v1/chat/completions', { %{ $faces{openai}[1] }, model => 'left', stream => $true });
    summed();
    $s->close;
    ok $cheap->wait_closed($summed), 'the summary is not waited for any more';
    poll_until { my @r = rows('left'); @r == 1 } undef, 'its row';
    like((rows('left'))[0], qr/^summary cheap cancelled/, 'it is written down');
    is $model->count, $asked, 'and nobody else is asked';
};

done_testing;
