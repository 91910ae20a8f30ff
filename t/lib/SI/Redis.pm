# Redis servers of a test's own: single ones, sentinels, clusters. All are stopped when the test ends.
package SI::Redis;
use strict;
use warnings;
use Exporter 'import';
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use POSIX qw(_exit);
use Test::More;
use SI::Test qw(free_port poll_until slurp);

our @EXPORT = qw($PASSWORD $LOGIN %server stop server store spit redis_dir cli_line cli says cluster);
our $PASSWORD = 'p@ss/w:rd';
our $LOGIN    = 'p%40ss%2Fw:rd';        # the same, in a URL
our %server;                            # port -> pid
my $dir  = tempdir('si-redis-XXXXXX', TMPDIR => 1);
my $main = $$;
my %bus;                                # port -> that of the cluster's bus

sub redis_dir { $dir }

END {
    if ($$ == $main) {
        my $status = $?;
        stop($_) for keys %server;
        remove_tree($dir);
        $? = $status;
    }
}

sub stop {
    my $pid = delete $server{ $_[0] } or return;
    kill KILL => $pid;
    waitpid $pid, 0;
}

sub spit {
    my ($path, $text) = @_;
    open my $f, '>', $path or die "$path: $!";
    print $f $text;
    close $f or die "$path: $!";
    return $path;
}

# Starts a server on a free port, which is returned. @how: further arguments, as --sentinel.
sub server {
    my ($lines, @how) = @_;
    my $port = free_port();
    my $home = "$dir/$port";
    mkdir $home or die "$home: $!";
    my $conf = spit("$home/redis.conf", "bind 127.0.0.1\nport $port\ndir $home\nlogfile $home/log\n$lines");
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$home/out";
        open STDERR, '>&', \*STDOUT;
        exec 'redis-server', $conf, @how or _exit(127);
    }
    $server{$port} = $pid;
    return $port;
}

sub store { server("save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n" . join '', map { "$_\n" } @_) }

sub cli_line { "redis-cli --no-auth-warning -a '$PASSWORD' -p $_[0]" }

sub cli {
    my ($port, $command) = @_;
    my $line = cli_line($port);
    return scalar `$line $command 2>&1`;
}

sub says {
    my ($port, $command, $want) = @_;
    ok(eval { poll_until { cli($port, $command) =~ $want } 30 }, "$command of $port: $want")
        or diag(cli($port, $command), slurp("$dir/$port/log"));
}

# A cluster of three masters and so many replicas, of the first ones. Their ports.
sub cluster {
    my ($replicas, @lines) = @_;
    my @node = map {
        my $bus = free_port();
        my $port = store("requirepass $PASSWORD", "masterauth $PASSWORD", 'cluster-enabled yes', 'cluster-node-timeout 1000',
            "cluster-port $bus", 'cluster-config-file nodes.conf', @lines);
        $bus{$port} = $bus;
        $port;
    } 1 .. 3 + $replicas;
    says($_, 'ping', qr/PONG/) for @node;
    for my $i (0 .. 2) {
        cli($node[$i], 'cluster set-config-epoch ' . ($i + 1));
        cli($node[$i], 'cluster addslotsrange ' . join ' ', @{ [[0, 5460], [5461, 10922], [10923, 16383]]->[$i] });
    }
    cli($node[0], "cluster meet 127.0.0.1 $_ $bus{$_}") for @node[1 .. $#node];
    says($_, 'cluster nodes', qr/^(?:.* connected.*\n){@{[ scalar @node ]}}/) for @node;
    for my $i (0 .. $replicas - 1) {
        my ($id) = cli($node[$i], 'cluster myid') =~ /^(\w+)/;
        poll_until { cli($node[3 + $i], "cluster replicate $id") =~ /OK/ } 30, 'a replica';
        says($node[3 + $i], 'info replication', qr/master_link_status:up/);
        says($node[$_], 'cluster nodes', qr/ 127\.0\.0\.1:$node[3 + $i]\@\S+ (?:myself,)?slave $id /) for 0 .. 2;
    }
    says($_, 'cluster info', qr/cluster_state:ok.*cluster_slots_ok:16384/s) for @node;
    return @node;
}

1;
