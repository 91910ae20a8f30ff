# scripts/bench storm [READERS]: what t/49-storm.t does, with more readers and the default si_stream_drain.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use SI::Storm;

$| = 1;
my @wrong;
for my $kill (0, 1) {
    my $storm = SI::Storm->new(readers => $ARGV[0], drain => 30, kill => $kill);
    $storm->run;
    print map { "$_\n" } $storm->figures, '';
    push @wrong, $storm->wrong, $storm->{si}->stop;
}
print map({ "WRONG: $_\n" } @wrong), @wrong ? "FAILED\n" : "nothing was lost\n";
exit(@wrong ? 1 : 0);
