# scripts/check as tests: one for each of its lines.
use strict;
use warnings;
use Test::More;

plan skip_all => 'the sources are checked in the release pass' if ($ENV{SI_PASS} || 'release') ne 'release';

open my $out, '-|', 'scripts/check 2>&1 </dev/null' or BAIL_OUT("scripts/check: $!");
my ($name, @detail);
while (my $line = <$out>) {
    chomp $line;
    if ($line =~ /^(ok|FAIL)\s+(.*)/) {
        ok($1 eq 'ok', $2) or diag(@detail ? join("\n", @detail) : 'without detail');
        @detail = ();
    } else {
        push @detail, $line;
    }
}
close $out;
is($? >> 8, 0, 'scripts/check ends with 0') or diag(@detail);
done_testing;
