# The fuzz targets for a minute, as tests: one for each target (scripts/fuzz prints TAP). SI_FUZZ_SECONDS changes how long.
use strict;
use warnings;
use Test::More;

plan skip_all => 'fuzzing is done in the release pass' if ($ENV{SI_PASS} || 'release') ne 'release';

open my $out, '-|', 'scripts/fuzz', $ENV{SI_FUZZ_SECONDS} || 60 or BAIL_OUT("scripts/fuzz: $!");
my $seen = 0;
while (my $line = <$out>) {
    if ($line =~ /^(not )?ok\b(?: \d+)?(?: - )?\s*(.*)/) {
        ok(!$1, $2);
        $seen++;
    } elsif ($line !~ /^1\.\./) {
        note $line;
    }
}
close $out;
is($? >> 8, 0, 'scripts/fuzz ends with 0');
cmp_ok($seen, '>=', 2, 'every target ran');
done_testing;
