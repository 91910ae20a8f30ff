package SI::Chaos::Killer;

# Who kills: a process, a whole node, Redis, Postgres; or reloads what lives. What nobody restarts comes back after a while.

use strict;
use warnings;
use List::Util qw(sum0);
use POSIX ();
use SI::Test::Stream;

# How often it does what.
my %WEIGHT = (worker => 26, edge => 20, node => 12, redis => 10, postgres => 10, edge_reload => 11, pool_reload => 11);

sub now { SI::Test::Stream::now() }
sub any { my @list = @_; return $list[rand @list] }

sub new {
    my ($class, $chaos, $stores, @nodes) = @_;
    return bless { chaos => $chaos, stores => $stores, nodes => \@nodes, kills => 0, back => {} }, $class;
}

sub note { my ($self, $text) = @_; $self->{chaos}->note($text) }

# True when something was killed: a reload is none.
sub strike {
    my $self = shift;
    my $at = rand sum0(values %WEIGHT);
    my ($what) = grep { ($at -= $WEIGHT{$_}) < 0 } sort keys %WEIGHT;
    my $how = "do_$what";
    $self->$how or return 0;
    $self->{chaos}->count($what);
    return 0 if $what =~ /reload/;
    return ++$self->{kills};
}

# Something comes back after that time, unless it is away already.
sub away { my ($self, $what, $seconds, $mend) = @_; $self->{back}{$what} = { at => now() + $seconds, mend => $mend } }

# What is due comes back. A mend that is not done yet is asked again.
sub mend {
    my $self = shift;
    for my $what (sort keys %{ $self->{back} }) {
        my $back = $self->{back}{$what};
        next if now() < $back->{at};
        delete $self->{back}{$what} if $back->{mend}->();
    }
}

sub live { my $self = shift; return grep { !$self->{back}{ $_->{node} } } @{ $self->{nodes} } }

sub kill_one {
    my ($self, $what, $node, @pids) = @_;
    my $pid = any(@pids) or return 0;
    $self->note("kill -9 $what $pid of node $node->{node}");
    $node->kill9($pid);
    return 1;
}

sub do_worker { my $self = shift; my $node = any($self->live); return $self->kill_one('si-worker', $node, $node->worker_pids) }
sub do_edge   { my $self = shift; my $node = any($self->live); return $self->kill_one('nginx worker', $node, $node->nginx_pids(1)) }

sub do_edge_reload {
    my $self = shift;
    my $node = any($self->live);
    $self->note("reload of nginx of node $node->{node}");
    return kill HUP => $node->nginx_pid;
}

sub do_pool_reload {
    my $self = shift;
    my $node = any($self->live);
    $self->note("reload of the pool of node $node->{node}");
    return kill HUP => $node->master_pid;
}

# Never both at once.
sub do_node {
    my $self = shift;
    my @live = $self->live;
    return 0 if @live < @{ $self->{nodes} };
    my $node = any(@live);
    $self->note("kill -9 of node $node->{node}");
    $node->kill_node;
    my $up;
    $self->away($node->{node}, rand 6, sub {
        $self->note("node $node->{node} starts again") if !$up;
        $up ||= $node->start_node;
        return 0 if waitpid($up, POSIX::WNOHANG()) == 0;
        $self->{chaos}->bad(processes => "node $node->{node} did not start: scripts/up ends with " . ($? >> 8)) if $?;
        $self->note("node $node->{node} is back");
        return 1;
    });
    return 1;
}

sub do_redis {
    my $self = shift;
    return 0 if $self->{back}{redis};
    $self->note('kill of Redis');
    $self->{stores}->kill_redis;
    $self->away(redis => rand 1.5, sub { $self->note('Redis starts again'); $self->{stores}->start_redis; return 1 });
    return 1;
}

# It crashes and recovers, or it hangs: now and then for longer than a lease.
sub do_postgres {
    my $self = shift;
    return 0 if $self->{back}{postgres};
    if (rand() < 0.5) {
        $self->note('crash of Postgres');
        return $self->{stores}->crash_postgres;
    }
    my @pids = $self->{stores}->postgres_pids;
    my $seconds = rand() < 0.2 ? 3 + rand 3 : rand 2;
    $self->note(sprintf 'Postgres hangs for %.1f s', $seconds);
    kill STOP => @pids;
    $self->away(postgres => $seconds, sub { $self->note('Postgres goes on'); kill CONT => @pids; return 1 });
    return 1;
}

# True when nothing is away, all processes are there, and old ones have gone.
sub settled {
    my $self = shift;
    return 0 if %{ $self->{back} } || now() < ($self->{look_at} || 0);
    $self->{look_at} = now() + 0.2;
    for my $node (@{ $self->{nodes} }) {
        my @workers = $node->worker_pids;
        my @edges = $node->nginx_pids(1);
        return 0 if @workers != $node->{workers} || @edges != $node->{nginx_workers};
        my $ready = eval { $node->http(GET => '/readyz', undef, undef, timeout => 5) } or return 0;
        return 0 if $ready->{status} != 200 || $ready->{body} !~ /"redis":true/;
    }
    return 1;
}

1;
