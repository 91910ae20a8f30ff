#!/usr/bin/perl
# si-client.js in Node.js: the parser against the corpus, reconnecting, restarts, a POST stream that is cut.
# The corpus is looked for in $SI_CORPUS, else in ../shared/corpus beside the repository.
use strict;
use warnings;
use FindBin;

chomp(my $node = `command -v node nodejs 2>/dev/null | head -n 1`);
if ($node eq '') {
    print "1..0 # SKIP no node\n";
    exit 0;
}
exec $node, "$FindBin::Bin/client.mjs", defined $ENV{SI_CORPUS} ? $ENV{SI_CORPUS} : () or die "cannot run $node: $!\n";
