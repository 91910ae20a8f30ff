package SI::Chaos;

# Senders and readers at work on two nodes with one Postgres and one Redis while all of it is killed at random, and what
# must be true all the same.
#
#   my $chaos = SI::Chaos->new(kills => 25, seed => 7);         # more options in new()
#   $chaos->run or diag $chaos->report;
#   is_deeply [$chaos->wrong('order')], [], 'ids only grow';
#
# One process and one select loop. A sender posts turns, each with its own client_turn_id, and goes on with the same one
# until it has the answer. A reader follows a conversation as EventSource does: whenever its stream ends or breaks it
# returns with Last-Event-ID, to the same node or to the other one, as behind a load balancer. The killer ends, or
# reloads, one thing after the other (SI::Chaos::Killer). Each event is checked when it is read (SI::Chaos::View), by all
# that was seen before; the store is compared at the end.
#
# What is wrong has a kind: bytes (one id, two contents), order (ids, or the shape of a turn), gap (something is missing),
# text (deltas, message and store differ), answer (a status or an end that a client should never get), store, processes.

use strict;
use warnings;
use Digest::MD5 qw(md5);
use JSON::PP ();
use List::Util qw(max);
use SI::Model;
use SI::Test;
use SI::Test::Stream;
use SI::Chaos::Killer;
use SI::Chaos::Reader;
use SI::Chaos::Sender;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $SETTLE = 150;       # seconds: a slot's back-off ends after 5 s, a node is back after 10 s, and the machine may be slow
my $WRONG_MAX = 40;     # of each kind are kept

sub now { SI::Test::Stream::now() }

# workers and nginx_workers of each node; tokens and delay_ms of an answer.
sub new {
    my ($class, %o) = @_;
    my $self = bless {
        kills => 25, senders => 6, readers => 40, conversations => 10, pause => [0.15, 1.6], workers => 2, nginx_workers => 2,
        tokens => 6, delay_ms => 25,
        wrong => {}, count => {}, log => [], ids => {}, turns => {}, posts => {}, firsts => [], worst => 0, start => now(),
    }, $class;
    defined $o{$_} and $self->{$_} = $o{$_} for keys %o;
    $self->{seed} = int(rand 2**31) unless defined $self->{seed};
    $self->begin;
    srand $self->{seed};
    return $self;
}

# The first node of the state folder has the stores alone, so that either of the two others can be killed whole.
sub begin {
    my $self = shift;
    $self->{model} = SI::Model->start;
    $self->{model}->default(kind => 'tokens', tokens => $self->{tokens}, delay_ms => $self->{delay_ms}, unique => 1);
    my $stores = SI::Test->start(model => $self->{model}, nginx => 'si_stream_drain 1s',
        config => "lease: 3s\nturn:\n  attempts: 10\nhistory:\n  messages: 4\n");
    $stores->leave_stores;
    my @nodes = map { $stores->node($_, workers => $self->{workers}, nginx_workers => $self->{nginx_workers}) } 2, 3;
    $self->{killer} = SI::Chaos::Killer->new($self, $stores, @nodes);
}

sub nodes { @{ $_[0]{killer}{nodes} } }
# Stops all; returns what was wrong with processes and logs. The logs are kept when anything was.
sub stop {
    my $self = shift;
    my @wrong = map { $_->stop } $self->nodes;
    my $stores = $self->{killer}{stores};
    $stores->{keep} = @wrong || $self->wrong;       # what the nodes left is in its folder
    return @wrong, $stores->stop;
}

sub seed { $_[0]{seed} }
sub count { my ($self, $what, $n) = @_; $self->{count}{$what} += defined $n ? $n : 1 }

sub note {
    my ($self, $text) = @_;
    push @{ $self->{log} }, sprintf '%8.3f %s', now() - $self->{start}, $text;
    shift @{ $self->{log} } if @{ $self->{log} } > 400;
    print STDERR "# $self->{log}[-1]\n" if $ENV{SI_CHAOS_VERBOSE};
}

sub bad {
    my ($self, $kind, $text) = @_;
    $self->note("WRONG $kind: $text");
    my $list = $self->{wrong}{$kind} ||= [];
    push @$list, $text if @$list < $WRONG_MAX;
}

# What is wrong of these kinds (of all without any), as text.
sub wrong {
    my ($self, @kinds) = @_;
    @kinds = sort keys %{ $self->{wrong} } unless @kinds;
    return map { my $kind = $_; map { "$kind: $_" } @{ $self->{wrong}{$kind} || [] } } @kinds;
}

# --- the run ---

# True when nothing was wrong.
sub run {
    my $self = shift;
    $self->note("seed $self->{seed}");
    my ($node) = $self->nodes;
    my @conv = map { $node->json(POST => '/v1/conversations', {})->{json}{id} } 1 .. $self->{conversations};
    $self->{conv} = \@conv;
    $self->{posting} = 1;
    $self->{actors} = [
        (map { SI::Chaos::Reader->new($self, "reader $_", $conv[$_ % @conv]) } 0 .. $self->{readers} - 1),
        (map { SI::Chaos::Sender->new($self, "sender $_") } 0 .. $self->{senders} - 1),
    ];
    my $next = now() + 1.5;
    $self->loop(sub {
        return 0 if now() < $next;
        $self->{progress}->($self) if $self->{killer}->strike && $self->{progress};
        # Now and then the next blow falls before the first one is over.
        $next = now() + (rand() < 0.2 ? rand 0.1 : $self->{pause}[0] + rand($self->{pause}[1] - $self->{pause}[0]));
        return $self->{killer}{kills} >= $self->{kills};
    }, 36_000, 'the kills');
    $self->{posting} = 0;
    $self->settle;
    $self->last_round unless $self->wrong;
    $self->check_store;
    $self->check_links;
    $_->close for @{ $self->{actors} };
    return !$self->wrong;
}

sub senders { grep { $_->isa('SI::Chaos::Sender') } @{ $_[0]{actors} } }
sub readers { grep { $_->isa('SI::Chaos::Reader') } @{ $_[0]{actors} } }

# All turns end, the processes are as many as they should be, and every reader has the last turn of its conversation.
sub settle {
    my $self = shift;
    $self->note('the killer rests');
    $self->loop(sub { !grep { !$_->idle } $self->senders }, $SETTLE, 'the senders') or return;
    $self->note('all turns have ended');
    $self->loop(sub { $self->{killer}->settled }, $SETTLE, 'the processes', 'processes') or return;
    $self->note('all processes are back');
    $self->loop(sub { !grep { !$_->caught_up } $self->readers }, $SETTLE, 'the readers');
}

# In peace each reader gets every event of a turn.
sub last_round {
    my $self = shift;
    $self->note('the last round');
    $self->{strict} = 1;
    my @conv = @{ $self->{conv} };
    my @senders = $self->senders;
    $self->{posting} = 1;
    $self->loop(sub {
        for my $s (grep { $_->idle } @senders) { $s->post(shift @conv, 'stream') if @conv }
        return !@conv && !grep { !$_->idle } @senders;
    }, $SETTLE, 'the last turns') or return;
    $self->loop(sub { !grep { !$_->caught_up } $self->readers }, $SETTLE, 'the readers of the last turns');
    my @partial = grep { !$_->{view}{whole} } $self->readers;
    $self->bad(gap => 'not all deltas of a quiet turn: ' . $_->story) for @partial;
}

# Serves all connections until the condition holds; false, with what is wrong, when it does not in time.
sub loop {
    my ($self, $until, $timeout, $what, $kind) = @_;
    my $end = now() + $timeout;
    until ($until->()) {
        if (now() > $end) {
            $self->bad($kind || 'gap', "after $timeout s still waiting for $what");
            $self->bad(gap => $_->story) for grep { !$_->idle } $self->senders;
            $self->bad(gap => $_->story) for grep { !$_->caught_up } $self->readers;
            return 0;
        }
        $self->step;
    }
    return 1;
}

sub step {
    my $self = shift;
    my ($bits, %by) = ('');
    for my $a (@{ $self->{actors} }) {
        $a->begin if !$a->{stream} && defined $a->{at} && $a->{at} <= now();
        my $s = $a->{stream};
        next if !$s || $s->ended;
        my $fd = fileno $s->{sock};
        vec($bits, $fd, 1) = 1;
        $by{$fd} = $a;
    }
    my $n = select my $ready = $bits, undef, undef, 0.02;
    for my $fd ($n > 0 ? keys %by : ()) {
        next unless vec($ready, $fd, 1);
        my $a = $by{$fd};
        # A stream that breaks the protocol dies: that is a finding.
        eval { $a->{stream}->pump(0); 1 } or do { $self->bad(order => "$a->{name}: $@"); $a->{stream}->finish('protocol') };
    }
    $_->look for grep { $_->{stream} } @{ $self->{actors} };
    $self->{killer}->mend;
}

# --- what everybody has seen ---

# The event of this id as whoever met it first read it; what is remembered of it, or undef when the bytes differ.
sub known {
    my ($self, $conv, $e, $who) = @_;
    my $sum = md5($e->{raw});
    my $k = $self->{ids}{$conv}{ $e->{id} };
    if (!$k) {
        my $data = eval { $json->decode($e->{text}) };
        if (ref $data ne 'HASH') { $self->bad(bytes => "$who: $conv $e->{id} holds no JSON object: $e->{raw}"); return undef }
        $k = $self->{ids}{$conv}{ $e->{id} } = { sum => $sum, type => $e->{event}, turn => $data->{turn}, by => $who };
        $k->{text} = $data->{text} if $e->{event} eq 'delta';
        $k->{attempt} = $data->{attempt} if defined $data->{attempt};
        $self->final($conv, $e, $data, $who) if $e->{event} =~ /^turn\.(?:completed|failed|cancelled)$/;
        $self->bad(bytes => "$who: $conv $e->{id}: event $e->{event} holds type " . ($data->{type} // 'none')) if ($data->{type} // '') ne $e->{event};
    }
    my $t = $self->{turns}{$conv}{ ($e->{id} =~ /^(\d+)/)[0] } ||= {};
    $t->{id} //= $k->{turn};
    $self->bad(store => "$who: $conv $e->{id} is of turn $k->{turn}, others of $t->{id}") if $t->{id} ne $k->{turn};
    if ($k->{sum} ne $sum) {
        $self->bad(bytes => "$who: $conv $e->{id} has not the bytes that $k->{by} saw ($k->{type}): $e->{raw}");
        return undef;
    }
    return $k;
}

# A turn ends once, and well.
sub final {
    my ($self, $conv, $e, $data, $who) = @_;
    my ($number) = $e->{id} =~ /^(\d+)/;
    my $t = $self->{turns}{$conv}{$number} ||= {};
    $self->bad(order => "$who: $conv turn $number ends twice: $t->{final} and $e->{id}") if defined $t->{final};
    @$t{qw(final content)} = ($e->{id}, $data->{message}{content});
    $self->bad(answer => "$who: $conv $e->{id}: $e->{raw}") if $e->{event} ne 'turn.completed';
}

sub last_number { my ($self, $conv) = @_; return max 0, keys %{ $self->{turns}{$conv} || {} } }

# A reader's conversation gave it less than all deltas of a turn: right only when workers came and went.
sub partial { my $self = shift; $self->count('turns read without all deltas'); return !$self->{strict} }

# --- at the end ---

sub check_store {
    my $self = shift;
    my $si = $self->{killer}{stores};
    my %by_client;
    for my $conv (@{ $self->{conv} }) {
        my @rows = $si->pg("select number, turn_id, state, client_turn_id, attempt, (select count(*) from message m where m.turn_id = t.turn_id"
            . " and m.role = 'assistant') from turn t where conversation_id = '$conv' order by number");
        my %message = $self->messages($conv);
        my $expect = 1;
        for my $r (@rows) {
            my ($number, $id, $state, $client, $attempt, $said) = @$r;
            my $seen = $self->{turns}{$conv}{$number};
            $by_client{$client}++;
            $self->count('takeovers', $attempt);
            $self->{most} = max $self->{most} || 0, $attempt;
            $self->bad(store => "$conv has no turn $expect but $number") if $number != $expect++;
            $self->bad(store => "$conv turn $number ($id) is $state at attempt $attempt") if $state ne 'completed';
            $self->bad(store => "$conv turn $number ($id) has $said answers") if $said != 1;
            if (!$seen || !defined $seen->{content}) { $self->bad(gap => "$conv turn $number ($id) was never seen to end"); next }
            $self->bad(text => "$conv turn $number: seen \"$seen->{content}\", stored \"" . ($message{$id} // 'nothing') . '"') if $seen->{content} ne ($message{$id} // '');
        }
        $self->bad(store => "$conv turn $_ was seen and is not stored") for grep { $_ >= $expect } keys %{ $self->{turns}{$conv} || {} };
    }
    for my $f (@{ $self->{firsts} }) {
        my ($who, $conv, $first, $floor) = @$f;
        my @missed = grep { $_ < $first && ($self->{turns}{$conv}{$_}{posted} || 0) > $floor } keys %{ $self->{turns}{$conv} };
        $self->bad(gap => "$who: sees $conv from turn $first on, and turns @missed were posted later") if @missed;
    }
    for my $p (values %{ $self->{posts} }) {
        next if !$p->{accepted};
        $self->bad(store => "accepted and not there once: $p->{client} turn $p->{accepted}: " . ($by_client{ $p->{client} } || 0)) if ($by_client{ $p->{client} } || 0) != 1;
    }
    $self->count('turns', scalar keys %by_client);
}

# Every blow costs a few links, and not one for each call: 60 are all processes of a node, old ones too, thrice.
sub check_links {
    my $self = shift;
    for my $node ($self->nodes) {
        my ($opened, $refused) = (0, 0);
        open my $fh, '<', $node->dir . '/logs/worker.log' or die "worker.log: $!";
        while (my $line = <$fh>) { $opened++ if $line =~ /"link opened"/; $refused++ if $line =~ /"link refused"/ }
        $self->count('links', $opened);
        $self->bad(processes => "$opened links were opened, $refused refused") if $refused || $opened > 60 * ($self->{kills} + 2);
    }
}

# The answers of a conversation, by turn, as GET …/messages lists them.
sub messages {
    my ($self, $conv) = @_;
    my ($cursor, %content) = ('');
    while (1) {
        my $r = ($self->nodes)[0]->json(GET => "/v1/conversations/$conv/messages?limit=100" . ($cursor ? "&cursor=$cursor" : ''));
        if ($r->{status} != 200) { $self->bad(answer => "GET messages: $r->{status} $r->{body}"); last }
        for my $m (@{ $r->{json}{data} }) {
            next if $m->{role} ne 'assistant';
            $self->bad(store => "$conv turn $m->{turn} has two messages") if exists $content{ $m->{turn} };
            $content{ $m->{turn} } = $m->{content};
        }
        $cursor = $r->{json}{next} or last;
    }
    return %content;
}

sub summary {
    my $self = shift;
    my $c = $self->{count};
    return sprintf('seed %d, %.0f s: ', $self->{seed}, now() - $self->{start})
        . join(', ', (map { "$_ $c->{$_}" } sort keys %$c), sprintf('most takeovers of a turn %d, longest turn %.1f s', $self->{most} || 0, $self->{worst}));
}

# What is needed to understand what is wrong.
sub report {
    my $self = shift;
    my @log = @{ $self->{log} };
    splice @log, 0, -80 if @log > 80;
    return join "\n", "seed $self->{seed} (SI_CHAOS_SEED)", $self->wrong, '--- the last things that happened', @log;
}

1;
