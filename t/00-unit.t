# Runs the unit programs of the worker, each as a subtest: it fails when the program does, when it printed no plan, when it
# hangs, or when a sanitizer had something to say. pg, redis, counter, redis_cluster and store need servers: t/01-io.t, t/06-redis.t, t/66-redis-cluster.t, t/03-store.t.
use strict;
use warnings;
use File::Basename qw(basename);
use File::Temp qw(tempfile);
use Test::More;

my $LIMIT = 300;        # seconds for one program
my $build = $ENV{SI_BUILD} || '.build/release';
my %elsewhere = map { $_, 1 } qw(pg redis counter redis_cluster store);
my @units = grep { -f && -x && !$elsewhere{ basename $_ } } sort glob "$build/unit/*";

BAIL_OUT("no unit programs in $build/unit: run scripts/build") unless @units;

sub unit {
    my $program = shift;
    my ($err, $log) = tempfile('si-unit-XXXXXX', TMPDIR => 1, UNLINK => 1);
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', $err;
        setpgrp;
        exec $program or die "$program: $!";
    }
    my ($plan, $run, $hung) = (0, 0, 0);
    local $SIG{ALRM} = sub { $hung = 1; kill KILL => -$pid };
    alarm $LIMIT;
    while (my $line = <$out>) {
        $plan = $1 if $line =~ /^1\.\.(\d+)/;
        if ($line =~ /^(not )?ok \d+(?: - (.*))?/) { $run++; ok(!$1, $2) }
        elsif ($line =~ /^# (.*)/) { note($1) }
    }
    alarm 0;
    close $out;
    my $status = $?;
    open my $fh, '<', $log or die "$log: $!";
    my @errors = <$fh>;
    my @reports = grep { /Sanitizer|runtime error:/ } @errors;
    ok(!$hung, "ended within $LIMIT s");
    is($status, 0, 'exit status') unless $hung;
    ok($plan > 0 && $plan == $run, "plan of $plan, $run run");
    is(scalar @reports, 0, 'no report of a sanitizer') or diag(@reports);
    diag(map { substr $_, 0, 400 } @errors > 40 ? @errors[-40 .. -1] : @errors) if $status || $hung;
}

for my $program (@units) {
    subtest basename($program) => sub { unit($program) };
}
done_testing;
