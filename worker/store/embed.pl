#!/usr/bin/perl
# Writes the C source of si_migrations[] from the SQL files given, in the order given.
use strict;
use warnings;

print "#include \"store/migrations.h\"\n\nconst si_migration_t si_migrations[] = {\n";
for my $path (@ARGV) {
    open my $in, '<:raw', $path or die "$path: $!\n";
    my ($name) = $path =~ m{([^/]+)\.sql$} or die "$path: not an .sql file\n";
    print "    { \"$name\",\n";
    while (my $line = <$in>) {
        $line =~ s/([\\"?])/\\$1/g;
        $line =~ s/\n/\\n/g;
        $line =~ s/([^\x20-\x7e])/sprintf '\\%03o', ord $1/ge;
        print "      \"$line\"\n";
    }
    print "      \"\" },\n";
}
print "    { 0, 0 }\n};\n";
