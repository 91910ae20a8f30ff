# Idle readers come back after a reload of nginx: all of them, by their last id, spread over the drain, while turns go on.
# scripts/bench storm does the same with 15,000.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Storm;

my $storm = SI::Storm->new(readers => 500, drain => 10);
$storm->run;
is_deeply [$storm->wrong], [], '500 readers came back and nothing was lost, doubled or refused';
cmp_ok scalar @{ $storm->{busy} }, '>', 5, 'turns went on meanwhile';
note $_ for $storm->figures;

done_testing;
