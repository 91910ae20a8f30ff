package SI::Chaos::Sender;

# Who posts turns, one after the other, each until it has its answer.

use strict;
use warnings;
use JSON::PP ();
use SI::Chaos::Actor;
use SI::Chaos::View;
use SI::Test::Stream;

our @ISA = ('SI::Chaos::Actor');

sub now { SI::Test::Stream::now() }

sub new {
    my ($class, $chaos, $name) = @_;
    return bless { chaos => $chaos, name => $name, at => now() + rand 0.5, posted => 0 }, $class;
}

sub idle { my $self = shift; return !$self->{post} }

sub begin {
    my $self = shift;
    return $self->attempt if $self->{post};
    my $chaos = $self->{chaos};
    if (!$chaos->{posting} || $chaos->{strict}) { $self->{at} = undef; return }
    $self->post($chaos->{conv}[rand @{ $chaos->{conv} }], ('stream', 'stream', 'stream', 'wait', 'async')[rand 5]);
}

sub post {
    my ($self, $conv, $mode) = @_;
    my $client = "$self->{name} " . ++$self->{posted};
    my $post = { client => $client, conv => $conv, mode => $mode, at => now(), input => "$client says something" };
    $self->{chaos}{posts}{$client} = $post;
    @$self{qw(post conv view history)} = ($post, $conv, undef, []);
    $self->attempt;
}

# The same turn again, whatever came of it before; a stream of a known turn may be resumed instead.
sub attempt {
    my $self = shift;
    my $p = $self->{post};
    if ($p->{mode} eq 'stream' && $p->{accepted} && rand() < 0.5) {
        return $self->request(GET => "/v1/turns/$p->{accepted}/events", undef, defined $self->{view}{last} ? { 'Last-Event-ID' => $self->{view}{last} } : {});
    }
    return $self->request(GET => "/v1/turns/$p->{accepted}") if $p->{mode} eq 'async' && $p->{accepted};
    $self->{view} = SI::Chaos::View->new($self->{chaos}, "$self->{name} (turn $p->{client})", $p->{conv}, 1) if $p->{mode} eq 'stream';
    $self->request(POST => "/v1/conversations/$p->{conv}/turns", { input => $p->{input}, client_turn_id => $p->{client} },
        { Accept => $p->{mode} eq 'stream' ? 'text/event-stream' : 'application/json', $p->{mode} eq 'async' ? (Prefer => 'respond-async') : () });
}

sub accepted {
    my ($self, $id) = @_;
    my $p = $self->{post};
    $self->{chaos}->bad(store => "$self->{name}: $p->{client} was turn $p->{accepted} and is turn $id") if $p->{accepted} && $p->{accepted} ne $id;
    $p->{accepted} = $id;
}

sub look {
    my $self = shift;
    my $p = $self->{post} or return;
    my $s = $self->{stream};
    return if $self->refused(200, 202);
    return $p->{mode} eq 'stream' ? $self->look_stream($p, $s) : $self->look_json($p, $s);
}

sub look_stream {
    my ($self, $p, $s) = @_;
    for my $e (splice @{ $s->{events} }) {
        $self->{view}->event($e, 0);
        my ($number) = $e->{id} =~ /^(\d+)/;
        my $k = $self->{chaos}{ids}{ $p->{conv} }{ $e->{id} } or next;
        $self->accepted($k->{turn});
        $self->{chaos}{turns}{ $p->{conv} }{$number}{posted} ||= $p->{at};
        if ($k->{type} =~ /^turn\.(?:completed|failed|cancelled)$/) { return $self->over }
    }
    return $self->again(0.5, $s->ended . ($s->complete ? ', whole' : '')) if $s->ended;
}

sub look_json {
    my ($self, $p, $s) = @_;
    return unless $s->ended;
    return $self->again(0.5, $s->ended) unless $s->complete;
    my $t = eval { JSON::PP->new->utf8->decode($s->{body}) };
    if (ref $t ne 'HASH' || !$t->{id}) {
        $self->{chaos}->bad(answer => "$self->{name}: $self->{asked}: " . $s->status . " without a turn: $s->{body}");
        return $self->again(1, 'no turn');
    }
    $self->accepted($t->{id});
    my $known = $self->{chaos}{turns}{ $p->{conv} }{ $t->{number} } ||= {};
    $known->{posted} ||= $p->{at};
    if ($t->{state} eq 'completed') {
        $known->{answered} = $t->{output};
        $self->{chaos}->bad(text => "$self->{name}: turn $t->{number} of $p->{conv} is \"$known->{content}\" to readers and \"$t->{output}\" to its sender")
            if defined $known->{content} && $known->{content} ne $t->{output};
        return $self->over;
    }
    if ($p->{mode} eq 'wait' || $t->{state} !~ /^(?:queued|running)$/) {
        $self->{chaos}->bad(answer => "$self->{name}: $self->{asked}: $s->{body}");
    }
    return $self->again(0.3, "is $t->{state}");
}

sub over {
    my $self = shift;
    my $chaos = $self->{chaos};
    my $took = now() - $self->{post}{at};
    if ($took > $chaos->{worst}) { $chaos->{worst} = $took; $chaos->note("$self->{post}{client} took $took s") if $took > 8 }
    $self->{stream}->close;
    $self->{stream} = $self->{post} = undef;
    $self->{at} = now() + rand 0.3;
}

1;
