#!/usr/bin/perl
# The store against a private Postgres: migrations, keys, row-level security, fences (t/unit/store.c does the work).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use SI::Pg;
use Test::More;

my $LIMIT = 240;    # seconds
my $build = $ENV{SI_BUILD} // "$FindBin::Bin/../.build/release";
my $program = "$build/unit/store";
-x $program or BAIL_OUT("$program is missing: run scripts/build, or set SI_BUILD");

$SIG{INT} = $SIG{TERM} = sub { exit 1 };
my $pg = SI::Pg->start(max_connections => 60);

$pg->sql($_, 'postgres') for (
    'CREATE ROLE si_owner LOGIN NOSUPERUSER NOBYPASSRLS',
    'CREATE ROLE si_worker LOGIN NOSUPERUSER NOBYPASSRLS',
    'CREATE ROLE "odd ""name" LOGIN NOSUPERUSER NOBYPASSRLS',
    'CREATE ROLE si_strong LOGIN BYPASSRLS',
    'CREATE ROLE si_member LOGIN IN ROLE si_owner',
    'CREATE DATABASE si OWNER si_owner',
);

$ENV{SI_TEST_OWNER} = $pg->conninfo('si_owner', 'si');
$ENV{SI_TEST_WORKER} = $pg->conninfo('si_worker', 'si');
$ENV{SI_TEST_SUPER} = $pg->conninfo('postgres', 'si');
my $log = "$pg->{dir}/store.stderr";
my $pid = open(my $out, '-|') // die "fork: $!";
if (!$pid) {
    open STDERR, '>', $log or die;
    exec $program or die "$program: $!";
}
my ($plan, $run) = (0, 0);
local $SIG{ALRM} = sub { kill 'KILL', $pid };
alarm $LIMIT;
while (my $line = <$out>) {
    $plan = $1 if $line =~ /^1\.\.(\d+)/;
    if ($line =~ /^(not )?ok \d+(?: - (.*))?/) { $run++; ok(!$1, $2) }
    elsif ($line =~ /^#\s?(.*)/) { diag($1) }
}
alarm 0;
close $out;
ok($? == 0 && $plan > 0 && $plan == $run, "unit program store: plan of $plan, $run run, status $?");

open my $fh, '<', $log or die "$log: $!";
my @lines = <$fh>;
is(scalar(grep { /Sanitizer|runtime error:/ } @lines), 0, 'no word of a sanitizer') or diag(@lines);
is(scalar(grep { /"level":"alert"/ } @lines), 0, 'no alert');
is(scalar(grep { /verysecret/ } @lines, split /^/, $pg->log), 0, 'no text of a message in a log');
diag(@lines > 30 ? @lines[-30 .. -1] : @lines) if !Test::More->builder->is_passing;
done_testing;
