# scripts/bench chaos [KILLS] [READERS]: what t/45-chaos.t does, for longer and with more readers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use SI::Chaos;

my ($kills, $readers) = @ARGV;
$| = 1;
my $chaos = SI::Chaos->new(kills => $kills, readers => $readers, conversations => 1 + int($readers / 5), seed => $ENV{SI_CHAOS_SEED},
    tokens => 8, delay_ms => 40,
    progress => sub { my $c = shift; my $n = $c->{killer}{kills}; print $c->summary(), "\n" if $n % 50 == 0 && $n < $kills });
printf "seed %d, %d kills, %d readers\n", $chaos->seed, $kills, $readers;
my $good = $chaos->run;
print $chaos->report, "\n" unless $good;
my @wrong = $chaos->stop;
print "$_\n" for @wrong;
print $chaos->summary, "\n", $good && !@wrong ? "nothing was lost, doubled or changed\n" : "FAILED\n";
exit($good && !@wrong ? 0 : 1);
