# Idle readers come back after a reload of nginx: all of them, by their last id, spread over the drain, while turns go on.
# So they do after its process was killed, though then all at once.
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

# A killed process asks nobody: all come in the same moment, more than one connection to Postgres can be asked at once.
my $killed = SI::Storm->new(readers => 3000, drain => 30, kill => 1, config => "database:\n  pool: 1\n");
$killed->run;
is_deeply [$killed->wrong], [], '3,000 readers came back after a kill, and none was refused';
note $_ for $killed->figures;

done_testing;
