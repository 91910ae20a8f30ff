package SI::Browser;

# Runs a script of t/browser/ in Node.js, which drives Chromium, as part of a test: its TAP lines are this test's, and what
# it asks for (`do WORD ARGUMENT`, see t/browser/drive.mjs) is done here.
#
#   SI::Browser->need;                                      # skips the whole file when something is not installed
#   SI::Browser->drive('console.mjs', { go => sub { my $argument = shift; … } }, @arguments);

use strict;
use warnings;
use IPC::Open2;
use Test::More;
use SI::Test;

sub node { chomp(my $node = `command -v node nodejs 2>/dev/null | head -n 1`); return $node }

sub need {
    plan skip_all => 'no node' if node() eq '';
    plan skip_all => 'npm packages are not installed: run scripts/deps' unless -d root() . '/t/node_modules/playwright-core';
    plan skip_all => 'no Chromium' unless $ENV{SI_CHROMIUM} || grep { -x } map { "/usr/bin/$_" } qw(chromium chromium-browser google-chrome);
}

sub drive {
    my ($class, $script, $do, @args) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $pid = open2(my $from, my $to, node(), root() . "/t/browser/$script", @args);
    my $planned;
    while (my $line = <$from>) {
        chomp $line;
        if ($line =~ /^do (\w+) ?(.*)/) {
            my $what = $do->{$1} or die "$script asks for `$line`";
            my $argument = $2;
            my $said = eval { $what->($argument); 1 } ? 'done' : "failed: $@" =~ s/\n/ /gr;
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
    ok($planned && $? == 0, "$script ran to its end");
}

1;
