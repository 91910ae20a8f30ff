package SI::Chaos::Reader;

# Who follows a conversation, as EventSource does.

use strict;
use warnings;
use SI::Chaos::Actor;
use SI::Chaos::View;
use SI::Test::Stream;

our @ISA = ('SI::Chaos::Actor');

sub now { SI::Test::Stream::now() }

sub new {
    my ($class, $chaos, $name, $conv) = @_;
    my $self = bless { chaos => $chaos, name => $name, conv => $conv }, $class;
    $self->fresh;
    return $self;
}

# A reader that has seen nothing yet.
sub fresh {
    my $self = shift;
    $self->{from} = ('', '', 'start', 'now')[rand 4];
    $self->{view} = SI::Chaos::View->new($self->{chaos}, $self->{name}, $self->{conv});
    @$self{qw(last floor)} = ();
    $self->{at} = now() + rand 0.5;
    $self->{leave} = now() + 2 + rand 20;
}

sub begin {
    my $self = shift;
    my $path = "/v1/conversations/$self->{conv}/events";
    my $last = $self->{last};
    my %h;
    if (!defined $last) {
        $path .= "?from=$self->{from}" if $self->{from};
        # What is posted after the head has come must be seen.
        $self->{floor} = undef;
        $self->{view}->start($self->{from});
    }
    elsif (rand() < 0.3) { $path .= "?last_event_id=$last" }
    else { $h{'Last-Event-ID'} = $last }
    $self->request(GET => $path, undef, \%h);
}

sub look {
    my $self = shift;
    my $s = $self->{stream};
    return if $self->refused(200);
    if ($s->status) {
        $self->{floor} = now() unless defined $self->{floor};
        for my $e (splice @{ $s->{events} }) {
            $self->{view}->event($e, $self->{floor});
            $self->{chaos}->count('deliveries');
        }
        # As EventSource has it: an id counts also without data.
        $self->{last} = $s->{last_id} if defined $s->{last_id};
    }
    if ($s->ended) { return $self->again(($s->{retry} || 1000) / 1000, $s->ended . ($s->complete ? ', whole' : '')) }
    $self->wander if $self->{chaos}{posting} && !$self->{chaos}{strict} && now() > $self->{leave};
}

# People close tabs, lose the network, and open another tab.
sub wander {
    my $self = shift;
    $self->{leave} = now() + 2 + rand 20;
    rand() < 0.5 ? $self->{stream}->rst : $self->{stream}->close;
    $self->again(1, 'left');
    $self->fresh if rand() < 0.2;
}

sub caught_up {
    my $self = shift;
    my $view = $self->{view};
    my $last = $self->{chaos}->last_number($self->{conv});
    # Who came after the last turn has nothing to see.
    return $self->{stream} && $self->{stream}->status && $self->{stream}->status == 200 && ($view->{done} || !$view->{turn})
        && ($view->{turn} ? $view->{turn} >= $last : !$view->missed($last, $self->{floor}));
}

1;
