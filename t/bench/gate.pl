# scripts/bench gate [REQUESTS] [ROUNDS]: what the gate adds to a request. BIN is the folder of ask and tokens.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use POSIX ();
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;

$| = 1;
my ($bin, $requests, $rounds) = @ARGV;
my %USERS = (cold => 5000, known => 200);      # more than the 4096 tokens that a process remembers; fewer
my $CONNECTIONS = 32;
my $WARM = 2500;                               # requests before each measurement: all processes know the known tokens then
my $CACHED_US = 5;
my $WORSE = 1.1;                               # two processes that wait for each other's locks would spend more

my $dir = File::Temp::tempdir('si-gate-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir)->add('k', 'RS256');
$idp->write("$dir/keys.json");
my $si = SI::Test->start;
my %file = map { $_ => "$dir/$_" } qw(cold known key);
system("$bin/tokens $dir/k.pem k $USERS{$_} > $file{$_}") == 0 or die "tokens failed\n" for qw(cold known);
open my $fh, '>', $file{key} or die $!;
print $fh $si->key, "\n";
close $fh;

# --- nginx: the same locations with and without the gate; an answer 204 comes after all phases that a gate may use ---

my @masters;

sub start_nginx {
    my $processes = shift;
    my $at = "$dir/$processes";
    mkdir $_ for $at, "$at/tmp";
    my $port = free_port();
    my $user = $> == 0 ? 'user root;' : '';
    my $temp = join ' ', map { "${_}_temp_path $at/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    my $gate = "si_auth jwt key; si_auth_jwt issuer=https://id.example audience=si; si_auth_jwt_keys file=$dir/keys.json; si_auth_claim tenant org;"
        . ' si_limit zone=caller; si_limit zone=address;';
    open my $conf, '>', "$at/nginx.conf" or die $!;
    print $conf <<"END_CONF";
load_module @{[ SI::Test::build_dir() ]}/ngx_si_module.so;
$user
daemon off;
worker_processes $processes;
pid $at/pid;
error_log $at/error.log warn;
events { worker_connections 1024; }
http {
    $temp
    access_log off;
    open_file_cache max=10;
    open_file_cache_errors on;
    keepalive_requests 100000000;
    si_pool si $si->{dir}/run workers=1;
    si_limit_zone \$si_caller zone=caller:8m rate=1000000r/s burst=1000000;
    si_limit_zone \$si_client_addr zone=address:8m rate=1000000r/s burst=1000000;
    server {
        listen 127.0.0.1:$port reuseport;
        location /bare { si_pass si; try_files /none =204; }
        location /gate { $gate si_pass si; try_files /none =204; }
        location /v1/nothing { si_pass si; }
        location /v1/conversations/ { $gate si_pass si; }
    }
}
END_CONF
    close $conf;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        exec 'nginx', '-p', $at, '-c', "$at/nginx.conf", '-e', "$at/error.log" or POSIX::_exit(127);
    }
    push @masters, $pid;
    poll_until {
        die slurp("$at/error.log") if waitpid($pid, POSIX::WNOHANG()) == $pid;
        (() = SI::Test::children($pid)) == $processes && system("$bin/ask $port /v1/nothing 404 64 $CONNECTIONS $file{key} 2>/dev/null") == 0
    } undef, 'nginx';
    return { port => $port, pids => [SI::Test::children($pid)] };
}

sub stop_nginx { kill TERM => @masters; waitpid $_, 0 for splice @masters }
END { my $status = $?; stop_nginx(); $? = $status }

my %nginx = map { $_ => start_nginx($_) } 1, 2;
my @worker = $si->worker_pids;

# CPU time of processes in us: the scheduler's own sum.
sub cpu { my $ns = 0; $ns += (split ' ', slurp("/proc/$_/task/$_/schedstat"))[0] for @_; return $ns / 1000 }

sub ask {
    my ($c, $n) = @_;
    system("$bin/ask $nginx{ $c->{n} }{port} $c->{path} " . ($c->{path} =~ /v1/ ? 404 : 204) . " $n $CONNECTIONS $file{ $c->{with} }") == 0 or die "ask failed\n";
}

sub median { my @v = sort { $a <=> $b } @_; return $v[$#v / 2] }

# --- what is compared: nginx processes, path, credentials. Each pair is measured one right after the other ---

my %case = map { my ($name, $n, $path, $with) = @$_; $name => { n => $n, path => $path, with => $with } }
    ['cold-', 1, '/bare', 'cold'], ['cold', 1, '/gate', 'cold'], ['cached-', 1, '/bare', 'known'], ['cached', 1, '/gate', 'known'],
    ['key-', 1, '/bare', 'key'], ['key', 1, '/gate', 'key'], ['door-', 1, '/v1/nothing', 'key'], ['door', 1, '/v1/conversations/no-id', 'key'],
    ['two-', 2, '/bare', 'known'], ['two', 2, '/gate', 'known'];

for my $round (1 .. $rounds) {
    for my $name (map { $round % 2 ? ("$_-", $_) : ($_, "$_-") } qw(cold cached two key door)) {
        my $c = $case{$name};
        ask($c, $WARM);
        my @before = (cpu(@{ $nginx{ $c->{n} }{pids} }), cpu(@worker));
        ask($c, $requests);
        push @{ $c->{edge} }, (cpu(@{ $nginx{ $c->{n} }{pids} }) - $before[0]) / $requests;
        push @{ $c->{worker} }, (cpu(@worker) - $before[1]) / $requests;
    }
}

my $missed = 0;
sub verdict { my ($value, $bound) = @_; $missed ||= $value > $bound; return sprintf 'bound %.1f: %s', $bound, $value <= $bound ? 'holds' : 'MISSED' }

# The median of what a function makes of the values of a round.
sub over_rounds { my ($of, $f, @names) = @_; return median(map { my $i = $_; $f->(map { $case{$_}{$of}[$i] } @names) } 0 .. $rounds - 1) }

sub row {
    my ($title, $name, $bound, $of) = @_;
    $of ||= 'edge';
    my $more = over_rounds($of, sub { $_[1] - $_[0] }, "$name-", $name);
    printf "%-50s %8.2f %8.2f %8.2f  %s\n", $title, (map { median(@{ $case{$_}{$of} }) } "$name-", $name), $more, defined $bound ? verdict($more, $bound) : '';
}

printf "\n%d rounds of %d requests, medians\n%-50s %8s %8s %8s\n", $rounds, $requests, 'CPU per request, us', 'without', 'with', 'more';
row('RS256 not seen before, two limits', 'cold');
row('RS256 cached, two limits', 'cached', $CACHED_US);
row('API key, two limits: nginx alone', 'key', $CACHED_US);
row('API key, two limits, answered by a worker: nginx', 'door', $CACHED_US);
row('  and the worker, which knows the key', 'door', $CACHED_US, 'worker');
row('RS256 cached, two limits, two nginx processes', 'two', $CACHED_US);
printf "CPU per request of two processes / of one: without %.2f, with %.2f (%s)\n", over_rounds('edge', sub { $_[1] / $_[0] }, 'cached-', 'two-'),
    map { ($_, verdict($_, $WORSE)) } over_rounds('edge', sub { $_[1] / $_[0] }, 'cached', 'two');
stop_nginx();
my @wrong = $si->stop;
print map { "WRONG: $_\n" } @wrong;
exit($missed || @wrong ? 1 : 0);
