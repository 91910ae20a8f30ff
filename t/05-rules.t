# The checks of the sources find what they are made for: each is shown a tree with one fault, and one without.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Cwd qw(abs_path);
use Test::More;

my $script = abs_path('scripts/sources.pl');
my @offenders;

# The tree has these files and nothing else. Returns the exit status; what was printed is in @offenders.
sub check {
    my ($name, %files) = @_;
    my $dir = tempdir(CLEANUP => 1);
    for my $f (keys %files) {
        make_path("$dir/" . dirname $f);
        open my $fh, '>', "$dir/$f" or die "$f: $!";
        print $fh $files{$f};
        close $fh;
    }
    @offenders = split /\n/, `cd $dir && perl $script $name 2>&1`;
    return $? >> 8;
}

sub finds {
    my ($name, $re, $what, %files) = @_;
    is check($name, %files), 1, "$name: $what";
    is scalar(grep { $_ =~ $re } @offenders), 1, "$name: named with file and line" or diag @offenders;
}
sub passes { my ($name, $what, %files) = @_; is check($name, %files), 0, "$name: $what" or diag @offenders }

finds 'sizes', qr{^worker/base/a\.c:1: 601 lines}, 'a long file', 'worker/base/a.c' => "\n" x 601;
finds 'sizes', qr{^worker/base/a\.c:4: f\(\) has 123 lines}, 'a long function', 'worker/base/a.c' => "/* { */\n\nint f(void)\n{\n" . ("    x();\n" x 121) . "}\n";
passes 'sizes', 'braces in strings and comments', 'worker/base/a.c' => "static int f(void)\n{\n    return g('{', \"}{{\"); /* { */\n}\n" . ("\n" x 130) . "int h(void)\n{\n    return 0;\n}\n";

finds 'layers', qr{^worker/base/a\.c:2: base may not include run/loop\.h}, 'a layer looks up', 'worker/base/a.c' => "\n#include \"run/loop.h\"\n";
finds 'layers', qr{^worker/io/a\.c:1: io may not include link/link\.h}, 'and sideways', 'worker/io/a.c' => "#include \"link/link.h\"\n";
finds 'layers', qr{^ngx_si_module/a\.c:1: the edge includes curl}, 'the edge takes a library', 'ngx_si_module/a.c' => "#include <curl/curl.h>\n", 'worker/base/a.c' => '';
finds 'layers', qr{no \.c file}, 'a .c file is included', 'worker/base/a.c' => "#include \"base/b.c\"\n";
passes 'layers', 'what is allowed', 'worker/turn/a.c' => "#include \"llm/provider.h\"\n#include \"base/buf.h\"\n#include <stdio.h>\n", 'worker/io/b.c' => "#include \"link/frame.h\"\n";

finds 'banned', qr{^worker/base/a\.c:3: sprintf\(\) is banned}, 'a banned call', 'worker/base/a.c' => "void f(char *s)\n{\n    sprintf(s, \"x\");\n}\n";
finds 'banned', qr{^ngx_si_module/a\.c:1: TODO}, 'a promise', 'ngx_si_module/a.c' => "/* TODO: all */\n", 'worker/base/a.c' => '';
passes 'banned', 'the bounded ones, and words', 'worker/base/a.c' => "/* no strcpy() here */\nvoid f(char *s)\n{\n    snprintf(s, 2, \"strcat(\");\n}\n";

finds 'co', qr{^worker/turn/a\.c:3: f\(\) calls co_wait\(\)}, 'a hidden yield', 'worker/turn/a.c' => "static int f(wait_t *w)\n{\n    return co_wait(w, \"x\", 0);\n}\n";
passes 'co', 'names that tell, and pointers', 'worker/turn/a.c' => "static int co_f(wait_t *w)\n{\n    return co_wait(w, \"x\", 0);\n}\nvoid g(void)\n{\n    co_spawn(\"g\", co_f, NULL);\n}\n";

my $module = "static ngx_command_t c[] = {\n    { ngx_string(\"si_pass\"),\n      NULL },\n};\nstatic ngx_http_variable_t v[] = {\n    { ngx_string(\"si_user\"), NULL },\n};\n";
finds 'docs-directives', qr{the directive si_pass is in no table}, 'an undocumented directive', 'ngx_si_module/a.c' => $module, 'README.md' => "| `\$si_user` | x |\n";
finds 'docs-directives', qr{^README\.md:3: the module has no directive si_gone}, 'documentation of nothing', 'ngx_si_module/a.c' => $module, 'README.md' => "| `\$si_user` | x |\n| `si_pass POOL` | x |\n| `si_gone` | x |\n";
passes 'docs-directives', 'both agree', 'ngx_si_module/a.c' => $module, 'README.md' => "| `\$si_user` | x |\n| `si_pass POOL` | x |\n";

my $metric = "    { \"si_calls\", \"gauge\", \"x\",\n";
finds 'docs-metrics', qr{^ngx_si_module/a\.c:1: the metric si_calls is in no table}, 'a metric that nobody described', 'ngx_si_module/a.c' => $metric, 'README.md' => "| directive |\n| `si_calls` |\n";
finds 'docs-metrics', qr{^README\.md:3: nobody has the metric si_gone}, 'and one that nobody has', 'ngx_si_module/a.c' => $metric, 'README.md' => "| metric |\n| `si_calls` |\n| `si_gone` |\n";
passes 'docs-metrics', 'both agree', 'ngx_si_module/a.c' => $metric, 'worker/api/a.c' => "{ \"si_w\", \"What it is.\", 1 }", 'README.md' => "| metric | x |\n| `si_calls` | x |\n| `si_w` | x |\n";
passes 'docs-directives', 'a metric is no directive', 'ngx_si_module/a.c' => $module, 'README.md' => "| `\$si_user` | x |\n| `si_pass POOL` | x |\n\n| metric | x |\n| `si_calls` | x |\n";

my $keys = "    { \"log.level\", KEY_LEVEL, },\n    { \"models.*.provider\", KEY_PROVIDER, },\n";
finds 'docs-keys', qr{^worker/conf/keys\.c:2: the key models\.\*\.provider is not in conf/si\.yaml}, 'a key without example', 'worker/conf/keys.c' => $keys, 'conf/si.yaml' => "log:\n  level: info\n", 'README.md' => "`log.level` `models.NAME.provider`\n";
passes 'docs-keys', 'all there, one in a comment', 'worker/conf/keys.c' => $keys, 'conf/si.yaml' => "log:\n  level: info\nmodels:\n  x:\n    # provider: offline\n", 'README.md' => "`log.level` `models.NAME.provider`\n";

my $event = "    begin(b, \"turn.completed\");\n";
finds 'docs-events', qr{^worker/turn/a\.c:1: the event turn\.completed is not in conf/openapi\.yaml}, 'an event that nobody describes', 'worker/turn/a.c' => $event, 'README.md' => "`turn.completed`\n", 'conf/openapi.yaml' => "x: 1\n";
finds 'docs-events', qr{the worker has no event turn\.gone}, 'and one that nobody sends', 'worker/turn/a.c' => $event, 'README.md' => "`turn.completed`\n", 'conf/openapi.yaml' => "  const: turn.completed\n  const: turn.gone\n";
passes 'docs-events', 'both agree', 'worker/turn/a.c' => $event, 'README.md' => "`turn.completed`\n", 'conf/openapi.yaml' => "    const: turn.completed\n";

my $routes = "    { \"GET\",  \"/v1/turns/{id}\", co_turn_get, false },\n";
finds 'docs-routes', qr{^conf/openapi\.yaml:6: POST /v1/turns/\{id\} is not in}, 'a route that does not exist', 'worker/api/routes.c' => $routes, 'conf/openapi.yaml' => "paths:\n  /v1/turns/{id}:\n    get:\n      x: y\n      post: z\n    post:\n      x: y\n";
finds 'docs-routes', qr{^worker/api/routes\.c:1: GET /v1/turns/\{id\} is not in}, 'a route nobody described', 'worker/api/routes.c' => $routes, 'conf/openapi.yaml' => "paths:\n";
done_testing;
