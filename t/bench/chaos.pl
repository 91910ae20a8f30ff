# scripts/bench chaos [KILLS] [READERS]: what t/45-chaos.t does, for longer and with more readers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use SI::Chaos;
use SI::Model;
use SI::Test;

my ($kills, $readers) = @ARGV;
$| = 1;
my $model = SI::Model->start;
$model->default(kind => 'tokens', tokens => 8, delay_ms => 40, unique => 1);
my $si = SI::Test->start(workers => 2, nginx_workers => 2, model => $model, nginx => 'si_stream_drain 1s',
    config => "turn:\n  attempts: 10\nhistory:\n  messages: 4\n");
my $chaos = SI::Chaos->new(si => $si, kills => $kills, readers => $readers, conversations => 1 + int($readers / 5), seed => $ENV{SI_CHAOS_SEED},
    progress => sub { my ($c, $n) = @_; print $c->summary(), "\n" if $n % 50 == 0 && $n < $kills });
printf "seed %d, %d kills, %d readers\n", $chaos->seed, $kills, $readers;
my $good = $chaos->run;
print $chaos->report, "\n" unless $good;
my @wrong = $si->stop;
print "$_\n" for @wrong;
print $chaos->summary, "\n", $good && !@wrong ? "nothing was lost, doubled or changed\n" : "FAILED\n";
exit($good && !@wrong ? 0 : 1);
