package SI::Chaos::View;

# What one client has seen of a conversation, or of one turn, event by event: each is held against the one before. It
# keeps no more than the turn it is in.

use strict;
use warnings;

my $ATTEMPT = 1_000_000;        # event numbers of attempt k begin behind k times this

# $single: the stream of one turn, from its first event.
sub new {
    my ($class, $chaos, $name, $conv, $single) = @_;
    my $self = bless { chaos => $chaos, name => $name, conv => $conv, single => $single, trail => [] }, $class;
    $self->start('');
    return $self;
}

# Nothing has been seen; $from as in ?from=.
sub start { my ($self, $from) = @_; @$self{qw(from last turn number attempt done whole text)} = ($from, undef, 0, 0, 0, 0, 0, '') }

sub bad {
    my ($self, $kind, $text) = @_;
    $self->{chaos}->bad($kind, "$self->{name}: $text; " . $self->story);
}

sub story { my $self = shift; return 'sees ' . ($self->{conv} // '') . ' ' . join(' ', @{ $self->{trail} }) }

# A turn that was posted after that time, and came before the first that was seen, was missed.
sub missed {
    my ($self, $number, $floor) = @_;
    my $turn = $self->{chaos}{turns}{ $self->{conv} }{$number} or return 0;
    return $turn->{posted} && defined $floor && $turn->{posted} > $floor;
}

sub event {
    my ($self, $e, $floor) = @_;
    my ($turn, $number) = ($e->{id} // '') =~ /^(\d+)\.(\d+)$/;
    return if !defined $e->{id} && $e->{event} =~ /^stream\./;
    return $self->bad(order => "an event without id: $e->{raw}") unless $turn;
    push @{ $self->{trail} }, "$e->{id}:$e->{event}";
    shift @{ $self->{trail} } if @{ $self->{trail} } > 14;
    my $known = $self->{chaos}->known($self->{conv}, $e, $self->{name});
    $self->{last} = $e->{id};
    if ($turn != $self->{turn}) { $self->next_turn($turn, $number, $floor) }
    else { $self->same_turn($number, $e->{event}) }
    @$self{qw(turn number attempt)} = ($turn, $number, int($number / $ATTEMPT));
    $self->content($known) if $known;
}

sub next_turn {
    my ($self, $turn, $number, $floor) = @_;
    if ($self->{turn}) {
        $self->bad(order => "turn $turn after turn $self->{turn}") if $turn < $self->{turn} || $self->{single};
        $self->bad(gap => "turn $turn after turn $self->{turn}") if $turn > $self->{turn} + 1;
        $self->bad(gap => "turn $turn begins before turn $self->{turn} has ended") unless $self->{done};
        $self->bad(gap => "turn $turn begins with its event $number") if $number != 1;
    }
    elsif ($self->{from} eq 'start' && $turn != 1) { $self->bad(gap => "from the start, turn $turn comes first") }
    elsif ($self->{from} ne 'now' && $number != 1) { $self->bad(gap => "begins with event $number of a turn") }
    # Which turns it should have had is known at the end.
    push @{ $self->{chaos}{firsts} }, [$self->{name}, $self->{conv}, $turn, $floor] if !$self->{turn} && !$self->{single};
    @$self{qw(done whole text)} = (0, 0, '');
}

sub same_turn {
    my ($self, $number, $type) = @_;
    my $attempt = int($number / $ATTEMPT);
    $self->bad(order => "event $number after event $self->{number}") if $number <= $self->{number};
    $self->bad(order => "event $number after the end of the turn") if $self->{done};
    my $next = $attempt == $self->{attempt} ? $self->{number} + 1 : $attempt * $ATTEMPT + 1;
    return if $number == $next;
    # The store has the end of a turn, and not the deltas.
    $self->{whole} = 0;
    return if $type =~ /^turn\.(?:completed|failed|cancelled)$/ && $self->{chaos}->partial;
    $self->bad(gap => "event $number ($type) after event $self->{number}");
}

# The shape of a turn, and its text.
sub content {
    my ($self, $k) = @_;
    my $in_attempt = $self->{number} - $self->{attempt} * $ATTEMPT;
    my $type = $k->{type};
    my $place = $type eq 'turn.accepted' ? ($self->{number} == 1) : $type eq 'turn.restarted' ? ($self->{attempt} > 0 && $in_attempt == 1)
        : $type eq 'turn.started' ? ($in_attempt == 2) : $type eq 'delta' ? ($in_attempt > 2) : 1;
    $self->bad(order => "$type has no business there") unless $place;
    $self->bad(order => "$type names attempt $k->{attempt}") if defined $k->{attempt} && $k->{attempt} != $self->{attempt};
    if ($type eq 'turn.started') { @$self{qw(whole text)} = (1, '') }
    elsif ($type eq 'delta') { $self->{text} .= $k->{text} // '' }
    elsif ($type =~ /^turn\.(?:completed|failed|cancelled)$/) { $self->over }
}

sub over {
    my $self = shift;
    $self->{done} = 1;
    my $content = $self->{chaos}{turns}{ $self->{conv} }{ $self->{turn} }{content} // '';
    $self->{chaos}->count($self->{whole} ? 'answers read with all deltas' : 'answers read whole only');
    $self->bad(text => "the deltas of turn $self->{turn} are \"$self->{text}\", its message is \"$content\"") if $self->{whole} && $self->{text} ne $content;
}

1;
