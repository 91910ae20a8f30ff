# scripts/bench gateway [ROUNDS] [SCALE]: calls of models through Si and through a bare proxy_pass. BIN is the folder of model and calls.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use POSIX ();
use SI::Test;

$| = 1;
my ($bin, $rounds, $scale) = @ARGV;
my $CPU = 2;            # bounds: x the CPU of bare proxy_pass,
my $ADDED_US = 150;     # added to the 99th percentile of a call's time,
my $TOKEN_US = 5;       # and for each token

my $dir = File::Temp::tempdir('si-gateway-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my @started;
END { my $status = $?; kill TERM => @started; waitpid $_, 0 for @started; $? = $status }

sub start {
    my ($log, @cmd) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', $log or die $!;
        exec @cmd or POSIX::_exit(127);
    }
    push @started, $pid;
    return $pid;
}

# --- the same models for both: tokens of an answer, ms between them, stamps ---

my %model = (
    burst20 => { tokens => 20, ms => 0 }, burst500 => { tokens => 500, ms => 0 }, paced20 => { tokens => 20, ms => 10 },
    paced500 => { tokens => 500, ms => 10 }, stamped => { tokens => 200, ms => 1, more => ['stamp'] });
my @names = sort keys %model;
my $yaml = '';
for my $name (@names) {
    my $m = $model{$name};
    $m->{port} = free_port();
    start("$dir/$name.log", "$bin/model", $m->{port}, $m->{tokens}, $m->{ms}, @{ $m->{more} || [] });
    poll_until { slurp("$dir/$name.log") =~ /ready/ } undef, 'a model';
}
$yaml .= "providers:\n" . join '', map { "  $_:\n    kind: openai\n    base_url: http://127.0.0.1:$model{$_}{port}/v1\n    api_key: env:SI_TEST_MODEL_KEY\n" } @names;
$yaml .= "models:\n" . join '', map { "  $_:\n    provider: $_\n" } @names;
$yaml .= "default_model: burst20\n";

# --- Si as conf/nginx.conf has it, with limits that are charged and never reached; nginx alone beside it ---

my $many = 'rate=1000000r/s burst=1000000';
my $si = SI::Test->start(limits => 1, config => $yaml, nginx => join ';', "si_limit_zone \$si_caller zone=caller:8m $many",
    "si_limit_zone \$si_client_addr zone=address:8m $many", 'limit_conn_zone $si_client_addr zone=si_addr:10m', 'keepalive_requests 100000000');

sub start_bare {
    my $at = "$dir/bare";
    mkdir $_ for $at, "$at/tmp";
    my $port = free_port();
    my $user = $> == 0 ? 'user root;' : '';
    my $temp = join ' ', map { "${_}_temp_path $at/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    my $upstreams = join '', map { "upstream $_ { server 127.0.0.1:$model{$_}{port}; keepalive 128; keepalive_requests 100000000; }\n" } @names;
    my $locations = join '', map { "location = /$_ { proxy_pass http://$_/v1/chat/completions; }\n" } @names;
    open my $conf, '>', "$at/nginx.conf" or die $!;
    print $conf <<"END_CONF";
$user
daemon off;
worker_processes 1;
pid $at/pid;
error_log $at/error.log warn;
events { worker_connections 1024; }
http {
    $temp
    access_log $at/access.log;
    keepalive_requests 100000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    $upstreams
    server {
        listen 127.0.0.1:$port;
        $locations
    }
}
END_CONF
    close $conf;
    my $pid = start("$at/out", 'nginx', '-p', $at, '-c', "$at/nginx.conf", '-e', "$at/error.log");
    poll_until { (() = SI::Test::children($pid)) == 1 && -s "$at/pid" } undef, 'nginx';
    return { port => $port, pids => [SI::Test::children($pid)] };
}

my $bare = start_bare();
my ($edge, $worker) = ([$si->nginx_pids], [$si->worker_pids]);
my $stores = [grep { $_ } $si->redis_pid, $si->postgres_pids];
my %cpu_of = (bare => $bare->{pids}, edge => $edge, worker => $worker, stores => $stores);

# CPU time of processes in us: the scheduler's own sum, of all threads.
sub cpu {
    my $ns = 0;
    $ns += (split ' ', slurp($_) || '0')[0] for map { glob "/proc/$_/task/*/schedstat" } @{ $_[0] };
    return $ns / 1000;
}

# What they hold of their own and share among them, KiB.
sub pss { my $n = 0; $n += (slurp("/proc/$_/smaps_rollup") =~ /^Pss:\s+(\d+)/m)[0] || 0 for map { @$_ } @_; return $n }

sub calls {
    my ($via, $name, $stream, $n, $c) = @_;
    my @to = $via eq 'si' ? ($si->port, '/v1/chat/completions') : ($bare->{port}, "/$name");
    my $line = qx($bin/calls @to $name $stream $model{$name}{tokens} $n $c @{[ $si->key ]});
    die "calls failed\n" if $?;
    return split ' ', $line;        # rate, p50 and p99 of the first byte, of the call, of a token
}

sub median { my @v = sort { $a <=> $b } @_; return $v[$#v / 2] }
sub least { my @v = sort { $a <=> $b } @_; return $v[0] }

# --- what is compared: model, stream, calls, connections ---

my %case = (
    burst20 => [burst20 => 1, 4000, 64], burst500 => [burst500 => 1, 1000, 64], whole20 => [burst20 => 0, 4000, 64],
    paced20 => [paced20 => 1, 640, 64], paced500 => [paced500 => 1, 64, 64],
    one20 => [burst20 => 1, 1000, 1], one500 => [burst500 => 1, 300, 1], onewhole => [burst20 => 0, 1000, 1],
    tokens => [stamped => 1, 10, 1]);
my (%got, %held);

for my $name (sort keys %case) {
    my ($model, $stream, $n, $c) = @{ $case{$name} };
    calls($_, $model, $stream, $c, $c) for qw(bare si);
}
sub weigh { push @{ $held{bare} }, pss($bare->{pids}); push @{ $held{si} }, pss($edge, $worker) }
weigh();
for my $round (1 .. $rounds) {
    for my $name (sort keys %case) {
        my ($model, $stream, $n, $c) = @{ $case{$name} };
        $n = $n * $scale < $c ? $c : int($n * $scale);
        for my $via ($round % 2 ? qw(bare si) : qw(si bare)) {
            # After a pause a virtual machine has to fetch its memory again: some 70 ms, which are nobody's.
            calls($via, $model, $stream, 8 * $c, $c) if !$model{$model}{ms};
            my %before = map { $_ => cpu($cpu_of{$_}) } keys %cpu_of;
            my @line = calls($via, $model, $stream, $n, $c);
            push @{ $got{$name}{$via}{$_} }, shift @line for qw(rate first50 first99 call50 call99 token50 token99);
            push @{ $got{$name}{$via}{$_} }, (cpu($cpu_of{$_}) - $before{$_}) / $n for $via eq 'si' ? qw(edge worker stores) : 'bare';
        }
    }
}
weigh();

# --- what it says ---

my $missed = 0;
sub verdict { my ($value, $bound) = @_; $missed ||= $value > $bound; return sprintf 'bound %g: %s', $bound, $value <= $bound ? 'holds' : 'MISSED' }

# The median of what a function makes of the numbers of a round.
sub over_rounds {
    my ($f, @lists) = @_;
    return median(map { my $i = $_; $f->(map { $_->[$i] } @lists) } 0 .. $rounds - 1);
}

sub cpu_row {
    my ($title, $name) = @_;
    my ($b, @s) = ($got{$name}{bare}{bare}, @{ $got{$name}{si} }{qw(edge worker)});
    my $ratio = over_rounds(sub { ($_[1] + $_[2]) / $_[0] }, $b, @s);
    printf "%-48s %8.1f %8.1f %8.1f %8.1f  %.2f x, %s\n", $title, (map { median(@$_) } $b, @s, $got{$name}{si}{stores}), $ratio, verdict($ratio, $CPU);
}

sub rate_row {
    my ($title, $name) = @_;
    my @rate = map { $got{$name}{$_}{rate} } qw(bare si);
    printf "%-48s %8.0f %8.0f  %.2f x\n", $title, (map { median(@$_) } @rate), over_rounds(sub { $_[1] / $_[0] }, @rate);
}

# The least of all rounds, for what else the machine does only adds to a time.
sub time_row {
    my ($title, $name, $what, $bound) = @_;
    my @p = map { my $p = $_; map { least(@{ $got{$name}{$_}{"$what$p"} }) } qw(bare si) } 50, 99;
    printf "%-48s %8.0f %8.0f %8.0f %8.0f  added %.0f and %.0f us%s\n", $title, @p, $p[1] - $p[0], $p[3] - $p[2],
        $bound ? ', ' . verdict($p[3] - $p[2], $bound) : '';
}

printf "\n%d rounds, medians of CPU and of calls a second\n%-48s %8s %8s %8s %8s\n", $rounds, 'CPU per call, us', 'bare', 'edge', 'worker', 'stores';
cpu_row('stream of 20 tokens, 10 ms apart, c=64', 'paced20');
cpu_row('stream of 500 tokens, 10 ms apart, c=64', 'paced500');
cpu_row('stream of 20 tokens at once, c=64', 'burst20');
cpu_row('stream of 500 tokens at once, c=64', 'burst500');
cpu_row('no stream, c=64', 'whole20');
for my $kind ('paced', 'burst') {
    my @per = map { my $via = $_; over_rounds(sub { ($_[1] - $_[0]) / 480 }, map { my $g = $got{"$kind$_"}{$via};
        $via eq 'bare' ? $g->{bare} : [map { $g->{edge}[$_] + $g->{worker}[$_] } 0 .. $rounds - 1] } 20, 500) } qw(bare si);
    printf "%-48s bare %.2f, Si %.2f: %.2f more, %s\n", 'CPU of each further token, us, ' . ($kind eq 'paced' ? '10 ms apart' : 'at once'), @per, $per[1] - $per[0], verdict($per[1] - $per[0], $TOKEN_US);
}
printf "\n%-48s %8s %8s\n", 'calls a second (with client and model)', 'bare', 'Si';
rate_row("stream of 20 tokens at once, c=64", 'burst20');
rate_row("stream of 500 tokens at once, c=64", 'burst500');
rate_row("no stream, c=64", 'whole20');
printf "\n%-48s %8s %8s %8s %8s\n", 'c=1, us, the least of all rounds', 'p50', 'p50 Si', 'p99', 'p99 Si';
time_row('stream of 20 tokens at once, first byte', 'one20', 'first');
time_row('stream of 20 tokens at once, all', 'one20', 'call', $ADDED_US);
time_row('stream of 500 tokens at once, all', 'one500', 'call');
time_row('no stream', 'onewhole', 'call', $ADDED_US);
time_row('age of a token, 1 ms apart', 'tokens', 'token');
printf "\nmemory (PSS) before and after: bare %.1f, %.1f MiB; edge and worker %.1f, %.1f MiB\n", map { $_ / 1024 } map { @{ $held{$_} } } qw(bare si);
my @wrong = $si->stop;
print map { "WRONG: $_\n" } @wrong;
exit($missed || @wrong ? 1 : 0);
