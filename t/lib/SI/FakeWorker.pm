package SI::FakeWorker;

# A worker that does nothing by itself but HELLO and PONG: the test takes each frame and sends each answer.
# It listens on FOLDER/<slot>.sock and FOLDER/<slot>.<pid>.sock. All sockets are served by SI::Edge::wait_for().

use strict;
use warnings;
use IO::Socket::UNIX;
use SI::Edge ();

my @NAMES = qw(NONE HELLO OPEN BODY CANCEL CREDIT DETACH PING HEAD DATA END MOVED ATTACH GOAWAY PONG READERS PUSH ASK WANT);
our %F = map { $NAMES[$_] => $_ } 1 .. $#NAMES;
our %FL = (BODY => 1, LAST => 2, LOG => 4, EVENT => 8, ABORT => 16);
our %T = (VERSION => 1, PEER => 2, METHOD => 3, PATH => 4, ARGS => 5, HEADER => 6, ADDR => 7, CALL_KEY => 8, RESUME => 9,
    TENANT => 10, LAST_ID => 11, STATUS => 12, LENGTH => 13, USER => 14, TURN => 15, STREAM => 16, ISSUER => 17, SUBJECT => 18, ORG => 19, SCOPES => 20,
    CREDENTIAL => 21, UNTIL => 22, TICKET => 23, MARKS => 24, VERDICT => 25);
my %TAG = reverse %T;

sub frame_bytes { my ($type, $flags, $id, $p) = @_; return pack('VCCvQ<', length $p, $type, $flags, 0, $id) . $p }
sub field { my ($tag, $v) = @_; return pack('CV', $T{$tag}, length $v) . $v }

# new(folder => DIR, slot => N, pid => N)
sub new {
    my ($class, %o) = @_;
    my $self = bless { slot => 0, pid => 1000, links => [], frames => [], %o }, $class;
    $self->{name} = "$self->{slot}.$self->{pid}";
    $self->{listeners} = [map { $self->listen_on($_) } $self->{slot}, $self->{name}];
    return $self;
}

sub listen_on {
    my ($self, $name) = @_;
    my $path = "$self->{folder}/$name.sock";
    unlink $path;
    my $s = IO::Socket::UNIX->new(Local => $path, Listen => 64) or die "$path: $!";
    chmod 0777, $path;
    my $h = { fh => $s, path => $path };
    $h->{on_read} = sub { my $c = $s->accept or return; $self->accepted($c) };
    return SI::Edge::add_handle($h);
}

sub accepted {
    my ($self, $c) = @_;
    my $link = { fh => $c, in => '', worker => $self };
    $link->{on_read} = sub { $self->readable($link) };
    push @{ $self->{links} }, SI::Edge::add_handle($link);
    # a silent worker never greets, an unborn one greets wrongly, one that goes says so at once
    return if $self->{silent};
    $self->{greeted}++;
    $self->raw($link, frame_bytes($F{HELLO}, 0, 0, $self->{hello} // field(VERSION => pack 'V', 4) . field(PEER => $self->{name}))
        . ($self->{goes} ? frame_bytes($F{GOAWAY}, 0, 0, '') : ''));
}

sub readable {
    my ($self, $link) = @_;
    my $n = sysread $link->{fh}, $link->{in}, 262144, length $link->{in};
    if (!defined $n) {
        return if $!{EAGAIN} || $!{EINTR};
        $n = 0;
    }
    return $self->drop($link) if $n == 0;
    while (length $link->{in} >= 16) {
        my ($len, $type, $flags, $zero, $id) = unpack 'VCCvQ<', $link->{in};
        last if length $link->{in} < 16 + $len;
        my $p = substr $link->{in}, 16, $len;
        substr($link->{in}, 0, 16 + $len) = '';
        if ($type == $F{PING}) { $self->raw($link, frame_bytes($F{PONG}, 0, $id, pack 'VV', 0, 0)); next }
        if ($type == $F{HELLO}) { $link->{hello} = fields($p); next }
        push @{ $self->{frames} }, { type => $NAMES[$type], flags => $flags, id => $id, payload => $p, link => $link };
    }
}

sub fields {
    my $p = shift;
    my %f = (headers => {}, list => []);
    while (length $p) {
        my ($tag, $len) = unpack 'CV', $p;
        my $v = substr $p, 5, $len;
        substr($p, 0, 5 + $len) = '';
        if ($TAG{$tag} eq 'HEADER') { my ($n, $x) = split /\0/, $v, 2; $f{headers}{$n} = $x; push @{ $f{list} }, $n }
        else { $f{ lc $TAG{$tag} } = $v }
    }
    return \%f;
}

# Waits for the first frame that the test asks for and takes it out: by type, and by id if given.
sub frame {
    my ($self, $type, $id) = @_;
    my $found;
    SI::Edge::wait_for(sub {
        my $q = $self->{frames};
        for my $i (0 .. $#$q) {
            next if $q->[$i]{type} ne $type || (defined $id && $q->[$i]{id} != $id);
            $found = splice @$q, $i, 1;
            return 1;
        }
        return 0;
    }, "frame $type at worker $self->{name}");
    return $found;
}

sub has { my ($self, $type) = @_; return grep { $_->{type} eq $type } @{ $self->{frames} } }

# The next OPEN as a call object.
sub call {
    my $self = shift;
    my $f = $self->frame('OPEN');
    return bless { %{ fields($f->{payload}) }, worker => $self, link => $f->{link}, id => $f->{id}, flags => $f->{flags} }, 'SI::FakeWorker::Call';
}

sub wait_link { my ($self, $n) = @_; SI::Edge::wait_for(sub { @{ $self->{links} } >= ($n || 1) && !grep { !$_->{hello} } @{ $self->{links} } }, 'a link') ; return $self->{links}[-1] }
sub raw { my ($self, $link, $bytes) = @_; SI::Edge::write_all($link, $bytes) }
sub send_frame { my ($self, $link, $type, $flags, $id, $p) = @_; $self->raw($link, frame_bytes($F{$type}, $flags, $id, $p // '')) }

sub feed { my ($self, $link, $log, $id, $bytes) = @_; $self->send_frame($link, DATA => $FL{LOG}, $log, pack('C', length $id) . $id . $bytes) }
sub push_frame { my ($self, $link, $kind, $bytes) = @_; $self->send_frame($link, PUSH => 0, 0, pack('C', $kind) . $bytes) }
sub end_log { my ($self, $link, $log, $flags) = @_; $self->send_frame($link, END => $FL{LOG} | ($flags || 0), $log) }

sub drop {
    my ($self, $link) = @_;
    SI::Edge::remove_handle($link);
    close $link->{fh};
    $link->{closed} = 1;
    @{ $self->{links} } = grep { $_ != $link } @{ $self->{links} };
}

# Dies as with kill -9: sockets close, names stay unless `keep` is false.
sub kill_it {
    my $self = shift;
    for my $l (@{ $self->{listeners} }) { SI::Edge::remove_handle($l); close $l->{fh}; unlink $l->{path} }
    $self->{listeners} = [];
    $self->drop($_) for @{ [@{ $self->{links} }] };
}

package SI::FakeWorker::Call;

use strict;
use warnings;

sub send_frame { my ($self, $type, $flags, $p) = @_; $self->{worker}->send_frame($self->{link}, $type, $flags, $self->{id}, $p); return $self }

# head(status, %options): type, length, stream, tenant, user, turn, credential, marks, until, headers => [name, value, …]
sub head {
    my ($self, $status, %o) = @_;
    return $self->send_frame(HEAD => 0, head_bytes($status, %o));
}

sub head_bytes {
    my ($status, %o) = @_;
    my $p = SI::FakeWorker::field(STATUS => pack 'V', $status);
    $p .= SI::FakeWorker::field(HEADER => "Content-Type\0$o{type}") if $o{type};
    $p .= SI::FakeWorker::field(LENGTH => pack 'V', $o{length}) if defined $o{length};
    $p .= SI::FakeWorker::field(STREAM => '') if $o{stream};
    for (qw(tenant user turn credential marks)) { $p .= SI::FakeWorker::field(uc, $o{$_}) if defined $o{$_} }
    $p .= SI::FakeWorker::field(UNTIL => pack 'Q<', $o{until}) if $o{until};
    my @h = @{ $o{headers} || [] };
    while (my ($n, $v) = splice @h, 0, 2) { $p .= SI::FakeWorker::field(HEADER => "$n\0$v") }
    return $p;
}

sub stream { my ($self, %o) = @_; return $self->head(200, type => 'text/event-stream', stream => 1, tenant => 'acme', %o) }
sub data { my ($self, $bytes, $flags) = @_; return $self->send_frame(DATA => $flags || 0, $bytes) }
sub event { my ($self, $id, $bytes) = @_; return $self->data(pack('C', length $id) . $id . $bytes, $SI::FakeWorker::FL{EVENT}) }
sub end { my ($self, $flags) = @_; return $self->send_frame(END => $flags || 0) }
sub moved { my ($self, $to) = @_; return $self->send_frame(MOVED => 0, $to) }
sub credit { my ($self, $n) = @_; return $self->send_frame(CREDIT => 0, pack 'V', $n) }
sub attach { my ($self, $log, $key, $seq) = @_; return $self->send_frame(ATTACH => 0, pack('Q<V', $log, $seq || 1) . $key) }

# Reads the whole body, giving credit for each frame.
sub body {
    my $self = shift;
    my ($body, $f) = ('');
    do {
        $f = $self->{worker}->frame('BODY', $self->{id});
        $body .= $f->{payload};
        $self->credit(length $f->{payload}) if length $f->{payload};
    } until $f->{flags} & $SI::FakeWorker::FL{LAST};
    return $body;
}

sub json { my ($self, $text) = @_; return $self->head(200, type => 'application/json', length => length $text)->data($text)->end }

1;
