#!/usr/bin/perl
# The console in Chromium, against a whole Si whose model is stepped from here. console.mjs drives the browser.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IPC::Open2;
use JSON::PP ();
use Test::More;
use SI::Model;
use SI::Test;

chomp(my $node = `command -v node nodejs 2>/dev/null | head -n 1`);
plan skip_all => 'no node' if $node eq '';
plan skip_all => 'playwright-core is not installed: run scripts/deps' unless -d "$FindBin::Bin/../node_modules/playwright-core";
plan skip_all => 'no Chromium' unless $ENV{SI_CHROMIUM} || grep { -x } map { "/usr/bin/$_" } qw(chromium chromium-browser google-chrome);

my $json = JSON::PP->new->allow_nonref->utf8;
my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model);
my $shots = $ENV{SI_SHOTS} || $si->dir . '/shots';
mkdir $shots;

my $request = 0;        # the request of the model that is being stepped; it counts from 1
my $asked = 0;          # requests so far

my %do = (
    step => sub { $model->next(kind => 'step'); $request = ++$asked },
    request => sub { $model->wait_request($request) },
    go => sub { $model->wait_request($request); $model->go($request, $json->decode($_[0])) },
    finish => sub { $model->finish($request) },
    tokens => sub { $model->next(kind => 'tokens', tokens => ['I ', 'waited.']); $asked++ },
    failing => sub { $model->next(kind => 'status', status => 400, body => '{"error":{"message":"no"}}'); $asked++ },
    kill => sub { $si->kill9(($si->nginx_pids)[0]) },
    offline => sub {
        my ($id, $text) = split / /, $_[0], 2;
        my $r = $si->json(POST => "/v1/conversations/$id/turns", { input => $json->decode($text), model => 'offline' });
        die "status $r->{status}: $r->{body}" unless $r->{status} == 200 && $r->{json}{state} eq 'completed';
    },
);

$SIG{PIPE} = 'IGNORE';
my $pid = open2(my $from, my $to, $node, "$FindBin::Bin/console.mjs", $si->url, $si->key, $shots);
my $planned;
while (my $line = <$from>) {
    chomp $line;
    if ($line =~ /^do (\w+) ?(.*)/) {
        my $what = $do{$1} or die "console.mjs asks for `$line`";
        my $args = $2;
        my $said = eval { $what->($args); 1 } ? 'done' : "failed: $@" =~ s/\n/ /gr;
        syswrite $to, "$said\n";
    } elsif ($line =~ /^(not )?ok \d+ - (.*)/) {
        ok(!$1, $2);
    } elsif ($line =~ /^1\.\.\d+$/) {
        $planned = 1;
    } else {
        diag($line =~ s/^# //r);
    }
}
waitpid $pid, 0;
ok($planned && $? == 0, 'console.mjs ran to its end');
diag("the screenshots are in $shots") unless Test::More->builder->is_passing;
done_testing;
