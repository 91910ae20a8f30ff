#!/usr/bin/perl
# Reads conf/openapi.yaml as JSON and writes api/openapi.h's two objects as C.
use strict;
use warnings;

my $json = do { local $/; <STDIN> };
die "no JSON came in\n" unless defined $json && length $json;

print qq{#include "api/openapi.h"\n\n};
print "const char si_openapi_json[] = {\n";
print join('', map { sprintf '%d,', $_ > 127 ? $_ - 256 : $_ } unpack('C*', $_)), "\n" for unpack '(a64)*', $json;
print "0};\nconst size_t si_openapi_json_len = ", length($json), ";\n";
