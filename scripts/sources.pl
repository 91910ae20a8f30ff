#!/usr/bin/perl
# scripts/sources.pl CHECK...: what scripts/check measures in the sources themselves. Prints offenders as file:line: text and
# exits 1 when there are any. Checks: sizes layers banned co docs-directives docs-metrics docs-keys docs-routes docs-events
use strict;
use warnings;
use File::Find ();

my $FILE_MAX = 600;         # lines of a file
my $FUNCTION_MAX = 120;     # lines of a function
my $MEDIAN_WANTED = 15;     # lines; reported, not enforced
# From left to right: a folder of worker/ may include only what stands to its left. Those in one word are equals.
my @LAYERS = ('base', 'run', 'io link', 'conf', 'store', 'llm', 'memory cortex', 'turn', 'jobs', 'api', 'main ctl');
# In run/co.h but never yielding: they are the interface of the coroutines, named after it.
my %CO_PLAIN = map { $_, 1 } qw(co_init co_exit co_spawn co_self co_cancel co_cancelled co_mask co_deadline co_each co_count co_run co_label co_trace co_self_trace);
my %BANNED = (sprintf => 'snprintf', vsprintf => 'vsnprintf', strcpy => 'memcpy with a length', strcat => 'buf_t', strncat => 'buf_t',
    strtok => 'a loop', alloca => 'an arena', gets => 'fgets', setjmp => 'a return value', longjmp => 'a return value');

my @bad;
my @notes;
sub bad { push @bad, "$_[0]:$_[1]: $_[2]" }

sub files {
    my ($re, @dirs) = @_;
    my @found;
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if /$re/ && -f } }, grep { -d } @dirs);
    return sort @found;
}

sub slurp { my $f = shift; open my $fh, '<', $f or die "$f: $!\n"; local $/; return <$fh> // '' }

# The C text with comments and the insides of literals blanked; lines keep their numbers.
sub bare {
    my $text = shift;
    $text =~ s{(/\*.*?\*/)|(//[^\n]*)|("(?:\\.|[^"\\\n])*")|('(?:\\.|[^'\\\n])*')}{
        my $s = $&;
        if (defined $3) { '"' . (' ' x (length($s) - 2)) . '"' }
        elsif (defined $4) { "'" . (' ' x (length($s) - 2)) . "'" }
        else { $s =~ s/[^\n]/ /g; $s }
    }gse;
    return $text;
}

# Functions of a bared text: [name, first line, lines, body].
sub functions {
    my $text = shift;
    my @found;
    $text =~ s{^[ \t]*#(?:[^\n]*\\\n)*[^\n]*}{ my $s = $&; $s =~ s/[^\n]/ /g; $s }gme;
    while ($text =~ /^(?:[A-Za-z_][^;{}=]*?)?\b([A-Za-z_]\w*)\s*\(([^;{}]*)\)[^;{}()]*(?:__attribute__\s*\(\([^;{}]*\)\)\s*)?\{/mg) {
        my ($name, $from) = ($1, pos($text) - 1);
        next if substr($text, 0, $-[0]) =~ tr/{// != substr($text, 0, $-[0]) =~ tr/}//;
        my ($depth, $at) = (0, $from);
        while ($text =~ /\G[^{}]*([{}])/gc || ($at = undef)) {
            last unless defined $at;
            $depth += $1 eq '{' ? 1 : -1;
            if ($depth < 0) { $at = pos $text; last }
        }
        last unless defined $at;
        my $body = substr $text, $from, $at - $from;
        my $line = 1 + (substr($text, 0, $from) =~ tr/\n//);
        push @found, [$name, $line, 1 + ($body =~ tr/\n//), $body];
        pos($text) = $at;
    }
    return @found;
}

my @worker = files(qr/\.[ch]$/, 'worker');
my @edge = files(qr/\.[ch]$/, 'ngx_si_module');

sub check_sizes {
    for my $f (@worker, @edge, files(qr/\.(?:[ch]|pl|pm|t|mjs|js)$/, 't/unit', 't/bench', 't/fuzz', 't/lib', 'scripts'), grep { -f } glob('t/*.t scripts/*')) {
        my $n = slurp($f) =~ tr/\n//;
        bad($f, 1, "$n lines, at most $FILE_MAX") if $n > $FILE_MAX;
    }
    for my $part (['worker', @worker], ['ngx_si_module', @edge], ['t', files(qr/\.[ch]$/, 't/unit', 't/bench', 't/fuzz')]) {
        my ($name, @list) = @$part;
        my @lengths;
        for my $f (grep { /\.c$/ } @list) {
            for my $fn (functions(bare(slurp($f)))) {
                push @lengths, $fn->[2];
                bad($f, $fn->[1], "$fn->[0]() has $fn->[2] lines, at most $FUNCTION_MAX") if $fn->[2] > $FUNCTION_MAX;
            }
        }
        next unless @lengths;
        @lengths = sort { $a <=> $b } @lengths;
        push @notes, sprintf '%s: %d functions, median %d (wanted: %d), p90 %d, longest %d lines', $name, scalar @lengths,
            $lengths[$#lengths / 2], $MEDIAN_WANTED, $lengths[$#lengths * 0.9], $lengths[-1];
    }
}

sub check_layers {
    my %rank;
    for my $i (0 .. $#LAYERS) { $rank{$_} = $i for split / /, $LAYERS[$i] }
    for my $f (@worker) {
        my ($from) = $f =~ m{^worker/(?:(\w+)/)?};
        $from = 'main' unless defined $from;
        defined $rank{$from} or do { bad($f, 1, "the folder $from is no layer"); next };
        my $n = 0;
        for my $line (split /\n/, slurp($f)) {
            $n++;
            my ($header) = $line =~ /^\s*#\s*include\s+"([^"]+)"/ or next;
            bad($f, $n, "includes $header: no .c file is included") if $header =~ /\.c$/;
            # What both sides share: the wire, and the reader of key sets, which needs nothing of nginx.
            next if $header eq 'link/frame.h' || $header eq '../ngx_si_module/si_jwk.h' || $header !~ m{/};
            my ($to) = $header =~ m{^(\w+)/};
            if (!defined $rank{$to}) { bad($f, $n, "includes $header: $to is no layer") }
            elsif ($to ne $from && $rank{$to} >= $rank{$from}) { bad($f, $n, "$from may not include $header") }
        }
    }
    for my $f (@edge) {
        my $n = 0;
        for my $line (split /\n/, slurp($f)) {
            $n++;
            bad($f, $n, "the edge includes $1") if $line =~ /^\s*#\s*include\s+[<"]((?:curl|libpq|hiredis|jansson|yaml|postgresql)\b[^>"]*)/;
            bad($f, $n, "includes $1: no .c file is included") if $line =~ /^\s*#\s*include\s+"([^"]+\.c)"/;
        }
    }
}

sub check_banned {
    my $re = join '|', sort keys %BANNED;
    for my $f (@worker, @edge) {
        my $n = 0;
        for my $line (split /\n/, bare(slurp($f))) {
            $n++;
            while ($line =~ /\b($re)\s*\(/g) { bad($f, $n, "$1() is banned: use $BANNED{$1}") }
            bad($f, $n, 'TODO, FIXME and the like are issues, not comments') if $line =~ /\b(?:TODO|FIXME|XXX)\b/;
        }
        $n = 0;
        for my $line (split /\n/, slurp($f)) { $n++; bad($f, $n, "$1 in a comment: file an issue") if $line =~ /\b(TODO|FIXME|XXX)\b/ }
    }
}

# A function that may yield says so: whoever calls a co_ function has co_ in its own name. Handing one over as a pointer is no call.
sub check_co {
    for my $f (grep { /\.[ch]$/ && !m{^worker/run/co} } @worker) {
        for my $fn (functions(bare(slurp($f)))) {
            my ($name, $line, undef, $body) = @$fn;
            next if $name =~ /(?:^|_)co_/;
            while ($body =~ /\b((?:\w+_)?co_\w+)\s*\(/g) {
                my ($called, $at) = ($1, $-[0]);
                next if $CO_PLAIN{$called};
                bad($f, $line + (substr($body, 0, $at) =~ tr/\n//), "$name() calls $called() and has no co_ in its name");
            }
        }
    }
}

sub readme {
    my $text = -e 'README.md' ? slurp('README.md') : '';
    bad('README.md', 1, 'is missing') unless length $text;
    return $text;
}

# The first cells of all tables: [first cell of the table's first line, the cell, the number of the line].
sub table_cells {
    my ($n, $header, @cells) = (0);
    for my $line (split /\n/, shift) {
        $n++;
        my ($cell) = $line =~ /^\|\s*([^|]*?)\s*\|/ or do { undef $header; next };
        $header //= $cell;
        push @cells, [$header, $cell, $n];
    }
    return @cells;
}

# Metrics of the edge and of the worker, which are told of in the README's table of metrics, both ways.
sub check_docs_metrics {
    my (%have, %told);
    for my $f (@edge, @worker) {
        my $text = slurp($f);
        $have{$1} ||= $f while $text =~ /\{\s*"(si_\w+)",\s*"(?:gauge|counter|[A-Z][^"]*\.)"/g;
        $have{$1} ||= $f while $text =~ /# HELP (si_\w+) [A-Z]/g;
    }
    for (table_cells(readme())) {
        my ($header, $cell, $n) = @$_;
        while ($header eq 'metric' && $cell =~ /`(si_\w+)/g) { $told{$1} ||= $n }
    }
    for (sort keys %have) { bad($have{$_}, 1, "the metric $_ is in no table of README.md") unless $told{$_} }
    for (sort keys %told) { bad('README.md', $told{$_}, "nobody has the metric $_") unless $have{$_} }
    bad('ngx_si_module', 1, 'no metric found: are they where this script looks?') unless %have;
}

# Both ways: what the module registers stands in a table of the README, and what stands there is registered.
sub check_docs_directives {
    my $readme = readme();
    my (%directive, %variable);
    for my $f (@edge) {
        my $text = slurp($f);
        my ($commands) = $text =~ /ngx_command_t\s+\w+\[\]\s*=\s*\{(.*?)\n\};/s;
        my ($variables) = $text =~ /ngx_http_variable_t\s+\w+\[\]\s*=\s*\{(.*?)\n\};/s;
        if (defined $commands) { $directive{$1} = $f while $commands =~ /ngx_string\("(si_\w+)"\)/g }
        if (defined $variables) { $variable{$1} = $f while $variables =~ /ngx_string\("(si_\w+)"\)/g }
    }
    my (%told, %told_variable);
    for (table_cells($readme)) {
        my ($header, $cell, $n) = @$_;
        next if $header eq 'metric';
        while ($cell =~ /`\$(si_\w+)/g) { $told_variable{$1} ||= $n }
        while ($cell =~ /`(si_\w+)/g) { $told{$1} ||= $n }
    }
    for (sort keys %directive) { bad($directive{$_}, 1, "the directive $_ is in no table of README.md") unless $told{$_} }
    for (sort keys %variable) { bad($variable{$_}, 1, "the variable \$$_ is in no table of README.md") unless $told_variable{$_} }
    for (sort keys %told) { bad('README.md', $told{$_}, "the module has no directive $_") unless $directive{$_} }
    for (sort keys %told_variable) { bad('README.md', $told_variable{$_}, "the module has no variable \$$_") unless $variable{$_} }
    bad('ngx_si_module', 1, 'no directive found: is the command table where this script looks?') unless %directive;
}

# Paths of the keys in a YAML file, keys in comments ("# key: value") included.
sub yaml_paths {
    my (@stack, %paths);
    for my $line (split /\n/, shift) {
        $line =~ s/^(\s*)# ?(?=\s*[\w*.-]+:(?:\s|$))/$1/;
        my ($indent, $key) = $line =~ /^(\s*)([\w*.-]+):(?:\s|$)/ or next;
        pop @stack while @stack && $stack[-1][0] >= length $indent;
        push @stack, [length $indent, $key];
        $paths{ join '.', map { $_->[1] } @stack } = 1;
        # { a: 1, b: 2 } on one line
        if ($line =~ /\{(.*)\}/) { my $in = $1; $paths{ join '.', (map { $_->[1] } @stack), $1 } = 1 while $in =~ /(?:^|,)\s*([\w-]+)\s*:/g }
    }
    return keys %paths;
}

sub check_docs_keys {
    my $file = 'worker/conf/keys.c';
    my ($readme, $n, $seen) = (readme(), 0, 0);
    my @yaml = -e 'conf/si.yaml' ? yaml_paths(slurp('conf/si.yaml')) : ();
    bad('conf/si.yaml', 1, 'is missing') unless @yaml;
    for my $line (split /\n/, slurp($file)) {
        $n++;
        my ($path) = $line =~ /^\s*\{\s*"([a-z][\w.*]*)"\s*,\s*KEY_/ or next;
        $seen++;
        my $re = join '\.', map { $_ eq '*' ? '[^.\s|`]+' : quotemeta } split /\./, $path;
        bad($file, $n, "the key $path is not in conf/si.yaml") unless grep { /^$re$/ } @yaml;
        bad($file, $n, "the key $path is not in README.md") unless $readme =~ /`$re\b/;
    }
    bad($file, 1, 'no key found: is the table where this script looks?') unless $seen;
}

sub check_docs_routes {
    my ($c, $yaml) = ('worker/api/routes.c', 'conf/openapi.yaml');
    my (%have, %told, $path, $n);
    for my $line (split /\n/, slurp($c)) {
        $n++;
        $have{"$1 $2"} = $n if $line =~ /^\s*\{\s*"([A-Z]+)"\s*,\s*"(\/[^"]*)"/;
    }
    my $in = $n = 0;
    for my $line (split /\n/, slurp($yaml)) {
        $n++;
        if ($line =~ /^(\w+):/) { $in = $1 eq 'paths' }
        next unless $in;
        if ($line =~ /^  ['"]?(\/[^'":]*)['"]?:\s*$/) { $path = $1 }
        elsif ($line =~ /^    (get|put|post|delete|patch|head|options):\s*$/) { $told{ uc($1) . " $path" } = $n }
    }
    # The edge answers this one without a worker.
    delete $told{'GET /healthz'};
    for (sort keys %have) { bad($c, $have{$_}, "$_ is not in $yaml") unless $told{$_} }
    for (sort keys %told) { bad($yaml, $told{$_}, "$_ is not in $c") unless $have{$_} }
    bad($c, 1, 'no route found: is the table where this script looks?') unless %have;
}

# Types of events: string literals like "turn.completed" in the turn layer, against README.md and conf/openapi.yaml.
sub check_docs_events {
    my ($readme, $yaml) = (readme(), slurp('conf/openapi.yaml'));
    my (%have, %told);
    for my $f (glob 'worker/turn/*.c') {
        my $text = slurp($f);
        $have{$1} = $f while $text =~ /"((?:turn|stream)\.[a-z]+|delta|reasoning)"/g;
        $have{$1} = $f while $text =~ /event: ((?:turn|stream)\.[a-z]+)/g;
    }
    # Keys of the configuration that stand in messages look alike.
    delete @have{qw(turn.deadline turn.attempts)};
    $told{$1} = 1 while $yaml =~ /^\s+const: ((?:turn|stream)\.[a-z]+|delta|reasoning)\s*$/mg;
    for (sort keys %have) {
        bad($have{$_}, 1, "the event $_ is not in README.md") unless $readme =~ /`\Q$_\E`/;
        bad($have{$_}, 1, "the event $_ is not in conf/openapi.yaml") unless $told{$_};
    }
    for (sort keys %told) { bad('conf/openapi.yaml', 1, "the worker has no event $_") unless $have{$_} }
    bad('worker/turn', 1, 'no event found: are they where this script looks?') unless %have;
}

my %checks = (sizes => \&check_sizes, layers => \&check_layers, banned => \&check_banned, co => \&check_co,
    'docs-directives' => \&check_docs_directives, 'docs-metrics' => \&check_docs_metrics, 'docs-keys' => \&check_docs_keys, 'docs-routes' => \&check_docs_routes,
    'docs-events' => \&check_docs_events);
for my $name (@ARGV) { ($checks{$name} or die "sources.pl: no check $name\n")->() }
print "$_\n" for @notes, @bad;
exit(@bad ? 1 : 0);
