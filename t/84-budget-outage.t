# Budgets when the stores do not do what they should: a call that is cancelled while Redis thinks, Postgres that is silent, and sums
# that are made under load.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use POSIX ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my ($model, @slow) = map { SI::Model->start } 1 .. 4;
my @speeds = map { my $ms = (20, 100, 300)[$_]; $slow[$_]->default(kind => 'tokens', tokens => 10, delay_ms => $ms); "s$ms" } 0 .. 2;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 1, allow => [qr/pg \d/], config => <<"YAML");
auth: { cache: 1s, grace: 1h }
gateway: { deadline: 10m, budget_output: 10 }
providers:
  fake: { kind: openai, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
  @{[join "\n  ", map { "$speeds[$_]: { kind: openai, base_url: \"@{[$slow[$_]->base_url]}\" }" } 0 .. 2]}
models:
  free: { provider: fake, upstream: fake-1 }
  @{[join "\n  ", map { "$_: { provider: $_, upstream: fake-1 }" } @speeds]}
default_model: free
budgets: { all: { per: all, period: total, calls: 1000000 } }
YAML

my $path = '/v1/chat/completions';
my %hello = (model => 'free', messages => [{ role => 'user', content => 'Hello' }]);

sub chat { return $_[0]->json(POST => $path, \%hello) }
sub field { my $name = shift; return $si->redis(HGET => ($si->redis(KEYS => 'si:{budget}:all:calls:*') =~ /^(\S+)/)[0] // 'none', $name) }
# Reservations that Redis remembers, by their state.
sub states { return join ' ', sort map { $si->redis(HGET => $_, 'state') } split /\n/, $si->redis(KEYS => 'si:{budget}:r:*') }

is chat($si)->{status}, 200, 'a call';
is field('held'), 0, 'holds nothing any more';

subtest 'a call that is cancelled while Redis is asked' => sub {
    my $seen;
    for (1 .. 50) {
        $si->redis('FLUSHALL');
        chat($si);
        $si->redis(CLIENT => PAUSE => 450, 'WRITE');
        my $s = $si->stream(POST => $path, { %hello, stream => JSON::PP::true });
        my $until = now_ms() + 400;
        while (!$seen && now_ms() < $until) {
            $seen = $si->redis(CLIENT => 'LIST') =~ / flags=b\w* .* cmd=eval /;
        }
        $s->close;
        last if $seen;
    }
    ok $seen, 'Redis has the question, and does not answer yet';
    poll_until { states() =~ /lapsed/ } 30, 'it to be taken back';
    poll_until { field('held') eq '0' } 30, 'what it held to be given back';
    pass 'nothing is held';
};

# Calls end all the time, so that no sum of the ledger is whole when it comes.
subtest 'Redis loses its memory under load' => sub {
    my @nodes = ($si, $si->node(2));
    my @load = map {
        my $n = $_;
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            srand $n;
            $SIG{ALRM} = sub { POSIX::_exit(0) };
            alarm 60;
            while (1) { eval { $nodes[$n % 2]->json(POST => $path, { %hello, model => $speeds[rand @speeds] }) } }
        }
        $pid;
    } 1 .. 40;
    poll_until { $slow[0]->count > 60 && $slow[2]->count > 40 } 30, 'calls that end all the time';
    $si->redis('FLUSHALL');
    my $known = eval { poll_until { (field('used') || 0) > 60 } 20, 'a sum'; 1 };
    kill KILL => @load;
    waitpid $_, 0 for @load;
    ok $known, 'it knows again what was used';
    is_deeply [map { $_->http(GET => '/metrics')->{body} =~ /^si_budget_away\S* (\d+)/m } @nodes], [0, 0], 'and counts again';
};

subtest 'Postgres is silent' => sub {
    my $cheap = member($si, create_key($si, 'demo', 'cheap', '--calls', '1000/day'));
    my $idle = member($si, create_key($si, 'demo', 'idle', '--calls', '1000/day'));
    is chat($cheap)->{status}, 200, 'a key with a budget';
    is $idle->json(GET => '/v1/models')->{status}, 200, 'and one that has asked no model yet';
    my @pids = $si->postgres_pids;
    kill STOP => @pids;
    my ($stale, $best, $bad, $n) = (now_ms() + 1100, 60000, 0, 0);
    while ($n < 3) {
        my $start = now_ms();
        $bad += chat($cheap)->{status} != 200;
        next if $start < $stale;
        $best = now_ms() - $start if $best > now_ms() - $start;
        $n++;
    }
    is $bad, 0, 'what it may use is known for longer than auth.cache';
    cmp_ok $best, '<', 5000, 'and not every call waits for Postgres until that is given up';
    my $r = chat($idle);
    kill CONT => @pids;
    is "$r->{status} $r->{json}{error}{code}", '503 budget_unavailable', 'a key of which nobody can say what it may use is refused';
    poll_until { chat($idle)->{status} == 200 } 30, 'Postgres to say it';
};

done_testing();
