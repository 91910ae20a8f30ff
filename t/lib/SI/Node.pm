package SI::Node;

# Runs a script of t/ in Node.js as part of a test: its TAP lines are this test's, and what it asks for (`do WORD ARGUMENT`, see
# t/sdk/tap.mjs) is done here. What is done may return a hash, which the script gets.
#
#   SI::Node->need('openai');                               # skips the whole file when something is not installed
#   SI::Node->drive('sdk/openai.mjs', { go => sub { my $argument = shift; … } }, @arguments);

use strict;
use warnings;
use IPC::Open2;
use JSON::PP ();
use Test::More;
use SI::Test;

sub node { chomp(my $node = `command -v node nodejs 2>/dev/null | head -n 1`); return $node }

sub need {
    my ($class, @packages) = @_;
    plan skip_all => 'no node' if node() eq '';
    plan skip_all => 'npm packages are not installed: run scripts/deps' if grep { !-d root() . "/t/node_modules/$_" } @packages;
}

# One line of an answer: "done", "done JSON" or "failed: why".
sub answer {
    my ($do, $what, $argument) = @_;
    my $result;
    eval { $result = $do->{$what}->($argument); 1 } or return "failed: $@" =~ s/\n/ /gr;
    return ref $result eq 'HASH' ? 'done ' . JSON::PP->new->utf8->canonical->encode($result) : 'done';
}

sub drive {
    my ($class, $script, $do, @args) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $pid = open2(my $from, my $to, node(), root() . "/t/$script", @args);
    my $planned;
    while (my $line = <$from>) {
        chomp $line;
        if ($line =~ /^do (\w+) ?(.*)/) {
            die "$script asks for `$line`" unless $do->{$1};
            syswrite $to, answer($do, $1, $2) . "\n";
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
