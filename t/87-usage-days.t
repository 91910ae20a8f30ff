# Days of the ledger that are over are summed up once: a budget that Redis has lost is what those sums and the rows of open days say,
# also when the rows are gone, come late, or come while a day is being closed.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, model => $model, config => <<'YAML');
agents:
  worn: { model: fake-1 }
  other: { model: fake-1 }
budgets:
  worn: { per: all, agent: worn, period: total, calls: 1000 }
  everything: { per: all, period: total, calls: 100000 }
  monthly: { per: user, period: month, calls: 100000 }
YAML

sub chat { return $si->json(POST => '/v1/chat/completions', { model => $_[0], messages => [{ role => 'user', content => 'Hello' }] })->{status} }
sub used { my ($key) = grep { !/rate/ } split /\n/, $si->redis(KEYS => "si:{budget}:$_[0]:*"); return $si->redis(HGET => $key // 'none', 'used') || 0 }
use POSIX ();
sub one { return ($si->pg($_[0]))[0] }
# What a budget says when Redis has lost it: with the call that asks.
sub rebuilt { my ($agent, $budget) = @_; $si->redis('FLUSHALL'); chat($agent); poll_until { used($budget) > 0 } 30, "the sum of $budget"; return used($budget) - 1 }
# As a worker writes them: rows of a day so long ago.
my ($tenant, $user) = map { @$_ } $si->pg('SELECT tenant_id, user_id FROM app_user LIMIT 1');
sub as_worker { my $sql = shift; my ($rc, $out) = SI::Test::run({}, 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $si->{env_file}{SI_WORKER_DATABASE_URL},
    '-c', "BEGIN; SET LOCAL si.tenant = '$tenant'; SET LOCAL si.user_id = '$user'; SET LOCAL si.usage_sum = 'on'; $sql; COMMIT"); die "psql: $out" if $rc; chomp $out; return $out }
sub rows {
    my ($days, $n, $agent) = @_;
    return "INSERT INTO usage SELECT '$tenant', gen_random_uuid(), '$user', NULL, NULL, 'openai', 'chat', '$agent', 'fake-1', 'fake', CASE WHEN g % 4 = 0 THEN 'provider_timeout' ELSE 'ok' END,"
        . " date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '$days days' + interval '1 hour', 1, 1, (g % 4 > 0)::int, 0, 0, 0, 0, 5, false FROM generate_series(1, $n) g";
}

is chat('worn'), 200, 'a call of today';
# Three in four of them count: the others failed before they cost anything, but for their money.
as_worker(join '; ', (map { rows($_, 40, 'worn') } 40, 3, 2), rows(2, 40, 'other'));
poll_until { one("SELECT until = ((now() - interval '2 hours') AT TIME ZONE 'UTC')::date FROM usage_closed") eq 't' } 30, 'the days to be closed';
is_deeply [map { join ' ', @$_ } $si->pg("SELECT agent, sum(calls), sum(cost_micros) FROM usage_day GROUP BY 1 ORDER BY 1")], ['other 30 200', 'worn 90 600'], 'sums of days';
is_deeply [map { join ' ', @$_ } $si->pg("SELECT agent, count(*) FILTER (WHERE outcome = 'ok'), sum(cost_micros) FROM usage WHERE at < now() - interval '30 hours' GROUP BY 1 ORDER BY 1")],
    ['other 30 200', 'worn 90 600'], 'are what the ledger says';
poll_until { one("SELECT count(*) FROM usage WHERE at > now() - interval '1 hour'") == 1 } 30, 'the ledger to have the call';

subtest 'a sum' => sub {
    is rebuilt(worn => 'worn'), 91, 'of an agent';
    poll_until { one("SELECT count(*) FROM usage WHERE at > now() - interval '1 hour'") == 2 } 30, 'the ledger to have the call';
    $si->pg("DELETE FROM usage WHERE at < now() - interval '30 hours'");
    is rebuilt(worn => 'worn'), 92, 'without the rows of days that are closed';
    poll_until { one("SELECT count(*) FROM usage WHERE at > now() - interval '1 hour'") == 3 } 30, 'the ledger to have the call';
    is used('everything') - 1, 122, 'of all';
};

subtest 'a row that comes late' => sub {
    as_worker(rows(10, 4, 'worn'));
    is one("SELECT sum(calls) FROM usage_day WHERE agent = 'worn'"), 93, 'is in its sum';
    is rebuilt(worn => 'worn'), 96, 'and so in the budget';
    my ($id) = $si->pg("SELECT usage_id FROM usage WHERE at < now() - interval '5 days' LIMIT 1");
    as_worker("INSERT INTO usage SELECT u.* FROM usage u WHERE usage_id = '$id' ON CONFLICT DO NOTHING");
    is one("SELECT sum(calls) FROM usage_day WHERE agent = 'worn'"), 93, 'one that is there already is not counted again';
    as_worker('INSERT INTO usage SELECT tenant_id, gen_random_uuid(), user_id, key_id, turn_id, source, operation, agent, model, provider, outcome, now(), duration_ms, first_token_ms, input_tokens, cached_tokens,'
        . " cache_write_tokens, output_tokens, reasoning_tokens, cost_micros, estimated FROM usage WHERE usage_id = '$id'");
    is one("SELECT sum(calls) FROM usage_day WHERE agent = 'worn'"), 93, 'nor is one of today';
};

subtest 'rows that come while days are closed' => sub {
    $si->pg("DELETE FROM usage; DELETE FROM usage_day; UPDATE usage_closed SET until = '1970-01-01'");
    as_worker(join '; ', map { rows($_, 4, 'worn') } 2 .. 16);
    my @pids;
    for my $n (1 .. 4) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            for my $i (1 .. 6) { eval { as_worker(rows(2 + ($i * 7 + $n * 3) % 15, 4, 'worn')); 1 } or POSIX::_exit(1) }
            POSIX::_exit(0);
        }
        push @pids, $pid;
    }
    as_worker('SELECT si_usage_close()') for 1 .. 10;
    my $bad = 0;
    for (@pids) { waitpid $_, 0; $bad++ if $? }
    is $bad, 0, 'all are stored';
    poll_until { as_worker('SELECT si_usage_close()'); one("SELECT until = ((now() - interval '2 hours') AT TIME ZONE 'UTC')::date FROM usage_closed") eq 't' } 30, 'the days to be closed';
    is one('SELECT sum(calls) FROM usage_day'), 3 * (15 + 24), 'none is missing, and none there twice';
    is_deeply [$si->pg('SELECT day, sum(calls), sum(cost_micros) FROM usage_day GROUP BY 1 ORDER BY 1')],
        [$si->pg("SELECT (at AT TIME ZONE 'UTC')::date, count(*) FILTER (WHERE outcome = 'ok'), sum(cost_micros) FROM usage GROUP BY 1 ORDER BY 1")], 'day by day';
};

subtest 'what a worker may not' => sub {
    for ('UPDATE usage_day SET calls = 0', 'DELETE FROM usage_day', 'DELETE FROM usage_closed', "INSERT INTO usage_closed VALUES ('2100-01-01')") {
        ok !eval { as_worker($_); 1 }, $_;
        like $@, qr/permission denied/, 'is refused';
    }
    ok !eval { as_worker("SET LOCAL si.usage_sum = 'off'; INSERT INTO usage_day SELECT gen_random_uuid(), now(), NULL, NULL, '', '', '', 1, 1"); 1 }, 'a sum of another tenant';
    like $@, qr/row-level security/, 'is refused';
};

done_testing;
