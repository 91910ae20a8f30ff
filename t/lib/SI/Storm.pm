package SI::Storm;

# Many idle readers of one conversation on one nginx process that is reloaded, or killed: all come back, while turns go on elsewhere.
#
#   my $storm = SI::Storm->new(readers => 500, drain => 10);        # kill => 1: the process is killed, not reloaded
#   $storm->run;                        # dies when something takes too long
#   $storm->wrong;                      # what was lost, doubled or refused, as lines
#   $storm->{status}, $storm->{quiet}, $storm->{busy}       # see t/bench/storm.c, and figures()
#
# The readers are t/bench/storm.c. A turn of their conversation runs before the reload, one in its middle, one after it.

use strict;
use warnings;
use JSON::PP ();
use IPC::Open2;
use List::Util qw(max);
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $CONNECTIONS = 19_900;       # of nginx: open files are 20,000 where nobody can raise them
my $QUIET = 30;                 # turns that show what is usual

sub new {
    my ($class, %o) = @_;
    my $self = bless { %o, waits => [] }, $class;
    $self->{model} = SI::Model->start;
    $self->{si} = SI::Test->start(workers => 2, nginx_workers => 1, model => $self->{model},
        config => $o{config}, nginx => "worker_connections $CONNECTIONS;si_stream_drain $o{drain}s");
    $self->build;
    return $self;
}

sub build {
    my $self = shift;
    $self->{bin} = $self->{si}->dir . '/storm';
    my ($rc, $out) = SI::Test::run({}, 'cc', qw(-std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -o), $self->{bin}, root() . '/t/bench/storm.c');
    die $out if $rc;
}

# --- the readers ---

sub readers_start {
    my $self = shift;
    my $si = $self->{si};
    $self->{pid} = open2($self->{from}, $self->{to}, $self->{bin}, $si->port, $self->{readers},
        "/v1/conversations/$self->{conv}/events", 'Authorization: Bearer ' . $si->key);
    $self->line =~ /^connected/ or die "the readers do not connect\n";
}

sub line {
    my $self = shift;
    local $SIG{ALRM} = sub { die "the readers say nothing\n" };
    alarm 120;
    my $line = readline $self->{from};
    alarm 0;
    return $line // die "the readers have died\n";
}

sub look {
    my $self = shift;
    syswrite $self->{to}, "status\n";
    return $self->{status} = JSON::PP::decode_json($self->line);
}

sub until_done {
    my ($self, $n) = @_;
    poll_until { $self->look->{done_min} >= $n } 120, "turn $n at every reader";
}

# The readers go; before nginx does, or they would come back.
sub close {
    my $self = shift;
    local ($?, $@);
    local $SIG{PIPE} = 'IGNORE';
    syswrite delete $self->{to}, "end\n" if $self->{to};       # closing is not enough: processes begun later have the pipe open too
    waitpid delete $self->{pid}, 0 if $self->{pid};
}

sub DESTROY { $_[0]->close }

# --- turns ---

# Seconds from the request to turn.accepted, in a conversation of its own.
sub turn_takes {
    my $self = shift;
    my $s = $self->{si}->stream(POST => "/v1/conversations/$self->{other}/turns", { input => 'How long?' });
    my $took = $s->wait_event('turn.accepted')->{at} - $s->{started};
    $s->wait_event('turn.completed');
    $s->close;
    return $took;
}

sub told { my $self = shift; post_turn($self->{si}, $self->{conv}, 'To all.'); $self->{told}++ }

sub run {
    my $self = shift;
    my $si = $self->{si};
    ($self->{conv}, $self->{other}) = (conversation($si), conversation($si));
    $self->readers_start;
    $self->told;
    $self->until_done(1);
    my @quiet = map { $self->turn_takes } 1 .. $QUIET;
    my $begin = now_ms();
    my @old = $self->{kill} ? $si->nginx_pids : $si->reload_nginx;
    $si->kill9($old[0]) if $self->{kill};
    my ($end, @busy) = $begin + 1000 * ($self->{drain} + 120);
    my $seen = $begin;
    $self->{stall} = 0;
    until ($self->settled(@old)) {
        $self->{stall} = max $self->{stall}, now_ms() - $seen;
        $seen = now_ms();
        die 'the storm does not end: ' . JSON::PP::encode_json($self->{status}) . "\n" if now_ms() > $end;
        push @busy, $self->turn_takes;
        $self->told if $self->{told} == 1 && now_ms() - $begin > 500 * $self->{drain};
    }
    $self->{took} = (now_ms() - $begin) / 1000;
    $self->told while $self->{told} < 3;
    $self->until_done(3);
    $self->{gauge} = $si->status->{edge}{readers};
    $self->close;
    @$self{qw(quiet busy)} = ([sort { $a <=> $b } @quiet], [sort { $a <=> $b } @busy]);
}

# Every reader has come back and the old process has gone.
sub settled {
    my ($self, @old) = @_;
    my $s = $self->look;
    return $s->{back} >= $self->{readers} && $s->{open} == $self->{readers} && !grep { SI::Test::alive($_) } @old;
}

# --- what came of it ---

# The most connections that may begin in one second: twice the mean, and more when this machine stood still meanwhile.
sub rate_bound { my $self = shift; return int(2 * (1 + $self->{stall} / 1000) * $self->{readers} / $self->{drain}) + 10 }

sub wrong {
    my $self = shift;
    my ($s, $n) = @$self{qw(status readers)};
    return (
        (map { $s->{$_} ? "$s->{$_} $_" : () } qw(refused blind wrong), $self->{kill} ? 'asked' : 'cut'),
        $s->{ $self->{kill} ? 'cut' : 'asked' } == $n && $s->{back} == $n ? () : "asked $s->{asked}, cut $s->{cut}, back $s->{back} of $n",
        $s->{done_min} == 3 && $s->{done_max} == 3 ? () : "turns read: $s->{done_min} to $s->{done_max} of 3",
        $self->{gauge} == $n ? () : "nginx counts $self->{gauge} readers",
        $self->{kill} || $s->{rate_max} <= $self->rate_bound ? () : "$s->{rate_max} connections in one second, bound " . $self->rate_bound,
    );
}

sub ms { my ($list, $part) = @_; return sprintf '%.1f', 1000 * $list->[$part * $#$list] }

# Lines that tell how it went.
sub figures {
    my $self = shift;
    my ($s, $quiet, $busy) = @$self{qw(status quiet busy)};
    return (
        sprintf('%d of %d idle readers of one nginx process came back by their last id after %s, in %.1f s',
            $s->{back}, $self->{readers}, $self->{kill} ? 'its kill -9' : "a reload with si_stream_drain $self->{drain}s", $self->{took}),
        "lost, doubled or out of order: $s->{wrong}; cut: $s->{cut}; refused: $s->{refused}",
        $self->{kill} ? "connections in the busiest second: $s->{rate_max}"
            : sprintf('connections a second: mean %.0f, most %d (bound %d)', $self->{readers} / $self->{drain}, $s->{rate_max}, $self->rate_bound),
        sprintf('longest time of a reader without a stream: %.1f s, its retry: included', $s->{away_max_ms} / 1000),
        sprintf('turn.accepted after, ms: before the storm p50 %s, p99 %s, most %s; during it p50 %s, p99 %s, most %s (%d turns)',
            (map { ms($quiet, $_) } 0.5, 0.99, 1), (map { ms($busy, $_) } 0.5, 0.99, 1), scalar @$busy));
}

1;
