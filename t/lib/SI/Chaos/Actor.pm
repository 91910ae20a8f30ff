package SI::Chaos::Actor;

# Who talks to Si: one request at a time, and what its end means.

use strict;
use warnings;
use SI::Test::Stream;

sub now { SI::Test::Stream::now() }
sub close { my $self = shift; $self->{stream}->close if $self->{stream}; $self->{stream} = $self->{at} = undef }

sub request {
    my ($self, $method, $path, $data, $headers) = @_;
    $self->{asked} = "$method $path" . ($headers->{'Last-Event-ID'} ? " after $headers->{'Last-Event-ID'}" : '');
    $self->{tries}++;
    # A client that could not connect, or lost its connection, is sent to the other node more often than not.
    my @nodes = $self->{chaos}->nodes;
    $self->{node} = int rand @nodes if !defined $self->{node};
    $self->{node} = ($self->{node} + 1) % @nodes if rand() < (delete $self->{move} // 0);
    $self->{asked} = "node $nodes[$self->{node}]{node}: $self->{asked}";
    $self->{stream} = eval { $nodes[$self->{node}]->stream($method, $path, $data, $headers, decode => 0) };
    $self->again(0.2, "no connection: $@") unless $self->{stream};
}

# Comes back after that many seconds at most; the reason stays for the report.
sub again {
    my ($self, $seconds, $why) = @_;
    $self->{move} = $self->{stream} && $self->{stream}->status ? 0.4 : 0.8;
    $self->{stream}->close if $self->{stream};
    $self->{stream} = undef;
    $self->{at} = now() + rand $seconds;
    chomp $why;
    push @{ $self->{history} }, sprintf '%.3f %s: %s', now() - $self->{chaos}{start}, $self->{asked}, $why;
    shift @{ $self->{history} } if @{ $self->{history} } > 8;
    $self->{chaos}->count('reconnects');
}

# True when the answer says: later. Anything else but success is wrong.
sub refused {
    my ($self, @good) = @_;
    my $s = $self->{stream};
    my $status = $s->status or return 0;
    return 0 if grep { $_ == $status } @good;
    if ($status == 503 || ($status == 409 && $s->{body} =~ /queue_full/)) {
        return 1 unless $s->ended;
        $self->{chaos}->count("status $status");
        $self->again($s->headers->{'retry-after'} || 1, "status $status");
        return 1;
    }
    return 1 unless $s->ended;
    $self->{chaos}->bad(answer => "$self->{name}: $self->{asked}: status $status $s->{body}");
    $self->again(1, "status $status");
    return 1;
}

sub story {
    my $self = shift;
    my $s = $self->{stream};
    return "$self->{name} " . ($self->{conv} || '') . ': ' . join '; ', ($self->{view} ? $self->{view}->story : ()), @{ $self->{history} || [] },
        $s ? "now $self->{asked}: " . ($s->status || 'no answer yet') . ', ' . int($s->{bytes}) . ' bytes' : 'not connected';
}

1;
