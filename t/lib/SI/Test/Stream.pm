package SI::Test::Stream;

# One HTTP/1.1 response on a socket of its own, read as it arrives: head, chunks and server-sent events are taken apart
# byte by byte and nothing is read unless a method is called, so a test can be a slow reader, or none.
#
#   my $s = SI::Test::Stream->new(port => 8080, path => '/v1/…/events', headers => { Authorization => "Bearer $key" });
#   is $s->head->{status}, 200;
#   my $e = $s->wait_event('turn.completed');       # { id, event, data (JSON decoded), text, raw (its bytes) }
#   $s->rst;

use strict;
use warnings;
use Errno qw(EAGAIN EWOULDBLOCK EINTR EINPROGRESS);
use IO::Poll qw(POLLIN POLLHUP POLLERR);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Socket qw(SOL_SOCKET SO_LINGER SO_RCVBUF IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

our $TIMEOUT = 30;      # seconds, for every wait that names none
my $json = JSON::PP->new->utf8->allow_nonref;

sub now { clock_gettime(CLOCK_MONOTONIC) }

# port, or unix => path of a socket; method, path, headers, request_body; rcvbuf => bytes; decode => 0 leaves data as text; raw_request
# => the whole request as bytes.
sub new {
    my ($class, %o) = @_;
    my $self = bless {
        %o, method => $o{method} || 'GET', in => '', line => '', events => [], seen => [], comments => 0, bytes => 0,
        body => '', block => '', left => undef, started => now(),
    }, $class;
    $self->{decode} = 1 unless defined $o{decode};
    $self->connect;
    $self->send_all(defined $o{raw_request} ? $o{raw_request} : $self->request);
    return $self;
}

sub connect {
    my $self = shift;
    my $sock;
    if ($self->{unix}) {
        $sock = IO::Socket::UNIX->new(Peer => $self->{unix}) or die "connect $self->{unix}: $!";
    } elsif ($self->{rcvbuf}) {
        # The window is agreed on at connect, so the buffer must be small before it.
        socket($sock, Socket::PF_INET(), Socket::SOCK_STREAM(), 0) or die "socket: $!";
        setsockopt($sock, SOL_SOCKET, SO_RCVBUF, pack('i', $self->{rcvbuf}));
        connect($sock, Socket::pack_sockaddr_in($self->{port}, Socket::inet_aton('127.0.0.1'))) or die "connect: $!";
        $sock = IO::Socket::INET->new_from_fd($sock, 'r+') || die "fdopen: $!";
    } else {
        $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Proto => 'tcp', Timeout => 10)
            or die "connect to port $self->{port}: $@";
    }
    setsockopt($sock, IPPROTO_TCP, TCP_NODELAY, 1) unless $self->{unix};
    $sock->blocking(0);
    binmode $sock;
    $self->{sock} = $sock;
}

sub request {
    my $self = shift;
    my %h = %{ $self->{headers} || {} };
    my %have = map { lc, 1 } keys %h;
    my $body = $self->{request_body};
    my $text = "$self->{method} $self->{path} HTTP/1.1\r\n";
    $text .= "Host: 127.0.0.1\r\n" unless $have{host};
    $text .= 'Content-Length: ' . length($body) . "\r\n" if defined $body && !$have{'content-length'} && !$have{'transfer-encoding'};
    for my $name (sort keys %h) {
        $text .= "$name: $_\r\n" for ref $h{$name} ? @{ $h{$name} } : $h{$name};
    }
    return $text . "\r\n" . (defined $body ? $body : '');
}

# Sends while the peer takes it; a peer that answers before it has taken all (413) and closes is not an error here.
sub send_all {
    my ($self, $bytes) = @_;
    my $end = now() + $TIMEOUT;
    local $SIG{PIPE} = 'IGNORE';
    while (length $bytes) {
        my $n = syswrite $self->{sock}, $bytes;
        if (defined $n) { substr($bytes, 0, $n) = ''; next }
        return 0 unless $!{EAGAIN} || $!{EINTR};
        my $left = $end - now();
        die "the server did not take the request in time\n" if $left <= 0;
        my $poll = IO::Poll->new;
        $poll->mask($self->{sock} => IO::Poll::POLLOUT() | POLLIN);
        $poll->poll($left);
        return 0 if ($poll->events($self->{sock}) & POLLIN) && $self->pump(0) && $self->{status};
    }
    return 1;
}

# Reads what is there, waiting at most $timeout seconds for the first byte. True if something came (the end counts).
sub pump {
    my ($self, $timeout) = @_;
    return 0 if $self->{ended};
    my $n = sysread $self->{sock}, my $bytes, 65536;
    if (!defined $n && ($!{EAGAIN} || $!{EINTR}) && $timeout > 0) {
        my $poll = IO::Poll->new;
        $poll->mask($self->{sock} => POLLIN | POLLHUP | POLLERR);
        $poll->poll($timeout);
        $n = sysread $self->{sock}, $bytes, 65536;
    }
    if (!defined $n) {
        return 0 if $!{EAGAIN} || $!{EINTR};
        $self->finish("$!");
        return 1;
    }
    if ($n == 0) { $self->finish('closed'); return 1 }
    $self->{first_byte} ||= now();
    $self->feed($bytes);
    return 1;
}

# The whole answer is in, or will never be: `complete` tells which.
sub finish {
    my ($self, $why) = @_;
    return if $self->{ended};
    $self->{ended} = $why;
    $self->{complete} = 1 if $why eq 'whole' || ($why eq 'closed' && $self->{status} && $self->{until_close});
    CORE::close($self->{sock}) if $self->{sock};
}

sub feed {
    my ($self, $bytes) = @_;
    $self->{in} .= $bytes;
    until ($self->{status}) {
        return unless $self->{in} =~ s/^(.*?)\r\n\r\n//s;
        $self->parse_head($1);
    }
    return $self->finish('whole') if $self->{status} && $self->{bodyless};
    if ($self->{chunked}) { $self->feed_chunks }
    else {
        my $data = $self->{in};
        $self->{in} = '';
        if (defined $self->{left}) {
            $data = substr $data, 0, $self->{left};
            $self->{left} -= length $data;
        }
        $self->feed_body($data);
        $self->finish('whole') if defined $self->{left} && $self->{left} == 0;
    }
}

sub parse_head {
    my ($self, $head) = @_;
    my ($first, @lines) = split /\r\n/, $head;
    my ($status) = $first =~ m{^HTTP/1\.[01] (\d{3})} or die "no HTTP status line: $first\n";
    return if $status == 100;
    my %h;
    for (@lines) {
        my ($name, $value) = /^([^:\s]+):\s*(.*?)\s*$/ or die "bad header line: $_\n";
        $name = lc $name;
        $h{$name} = exists $h{$name} ? "$h{$name}, $value" : $value;
    }
    $self->{raw_head} = $head;
    $self->{response_headers} = \%h;
    $self->{chunked} = 1 if ($h{'transfer-encoding'} || '') =~ /chunked/i;
    $self->{left} = $h{'content-length'} if !$self->{chunked} && defined $h{'content-length'};
    $self->{until_close} = 1 if !$self->{chunked} && !defined $self->{left};
    $self->{bodyless} = 1 if $self->{method} eq 'HEAD' || $status == 204 || $status == 304 || (defined $self->{left} && $self->{left} == 0);
    $self->{sse} = 1 if ($h{'content-type'} || '') =~ m{^text/event-stream};
    $self->{status} = $status;
}

sub feed_chunks {
    my $self = shift;
    while (1) {
        if (!defined $self->{left}) {
            $self->{in} =~ s/^([0-9A-Fa-f]+)[^\r\n]*\r\n// or return;
            $self->{left} = hex $1;
            $self->{chunks}++;
            $self->{last_chunk} = 1 if $self->{left} == 0;
        }
        if ($self->{last_chunk}) {
            return $self->finish('whole') if $self->{in} =~ s/^(?:[^\r\n]+\r\n)*\r\n//;
            return;
        }
        my $n = length $self->{in} < $self->{left} ? length $self->{in} : $self->{left};
        $self->feed_body(substr($self->{in}, 0, $n, '')) if $n;
        $self->{left} -= $n;
        return if $self->{left} > 0;
        $self->{in} =~ s/^\r\n// or do {
            die "a chunk does not end in CR LF\n" if length $self->{in} >= 2;
            return;
        };
        $self->{left} = undef;
    }
}

sub feed_body {
    my ($self, $data) = @_;
    $self->{bytes} += length $data;
    return $self->{body} .= $data unless $self->{sse};
    $self->{body} .= $data if $self->{keep_body};
    $self->{line} .= $data;
    # Si ends lines with LF only; a CR would be a fault, and stays visible in the data.
    while ($self->{line} =~ s/^([^\n]*)\n//) { $self->feed_line($1) }
}

sub feed_line {
    my ($self, $line) = @_;
    $self->{block} .= "$line\n";
    if ($line eq '') {
        my $e = delete $self->{event};
        my $raw = $self->{block};
        $self->{block} = '';
        $self->dispatch($e, $raw) if $e;
        return;
    }
    if ($line =~ /^:/) { $self->{comments}++; $self->{last_comment} = now(); return }
    my ($name, $value) = $line =~ /^([^:]*)(?:: ?(.*))?$/s;
    $value = '' unless defined $value;
    if ($name eq 'retry') { $self->{retry} = $value; return }
    my $e = $self->{event} ||= {};
    if ($name eq 'data') { $e->{text} = defined $e->{text} ? "$e->{text}\n$value" : $value }
    elsif ($name eq 'id' || $name eq 'event') { $e->{$name} = $value }
    else { die "unknown field in an event stream: $line\n" }
}

sub dispatch {
    my ($self, $e, $raw) = @_;
    $self->{last_id} = $e->{id} if defined $e->{id};
    return unless defined $e->{text};
    $raw =~ s/^(?:(?::|retry:)[^\n]*\n|\n)+//;
    $e->{raw} = $raw;
    $e->{at} = now();
    $e->{event} = 'message' unless defined $e->{event};
    if ($self->{decode}) {
        $e->{data} = eval { $json->decode($e->{text}) };
        $e->{data} = $e->{text} if $@;
    }
    push @{ $self->{events} }, $e;
}

# Waits for the head of the answer: { status, headers }.
sub head {
    my ($self, $timeout) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    until ($self->{status}) {
        die "the connection ended before an answer: $self->{ended}\n" if $self->{ended};
        my $left = $end - now();
        die "no answer in time: $self->{method} $self->{path}\n" if $left <= 0;
        $self->pump($left);
    }
    return { status => $self->{status}, headers => $self->{response_headers} };
}

# The next event, or undef when the stream has ended. Dies when neither happens in time.
sub next_event {
    my ($self, $timeout) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    until (@{ $self->{events} }) {
        return undef if $self->{ended};
        my $left = $end - now();
        die $self->story('no event in time') if $left <= 0;
        $self->pump($left);
    }
    my $e = shift @{ $self->{events} };
    push @{ $self->{seen} }, $e;
    return $e;
}

# Reads on until an event of that type (a string or a regular expression) has come. Dies when the stream ends first.
sub wait_event {
    my ($self, $type, $timeout) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    while (1) {
        my $left = $end - now();
        my $e = $self->next_event($left > 0 ? $left : 0.001);
        die $self->story("the stream ended ($self->{ended}) before $type") unless $e;
        return $e if ref $type ? $e->{event} =~ $type : $e->{event} eq $type;
    }
}

# The first event, of those taken before or by reading on, for which the condition holds ($_ is the event).
sub wait_for {
    my ($self, $cond, $what) = @_;
    for (@{ $self->{seen} }) { return $_ if $cond->() }
    while (1) {
        local $_ = $self->next_event or die $self->story("the stream ended ($self->{ended}) before " . ($what || 'an event'));
        return $_ if $cond->();
    }
}

# Reads to the end; returns all events that were not taken before.
sub until_end {
    my ($self, $timeout) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    my @all;
    while (1) {
        my $left = $end - now();
        my $e = $self->next_event($left > 0 ? $left : 0.001) or return @all;
        push @all, $e;
    }
}

# The body of an answer that is no event stream.
sub body {
    my ($self, $timeout) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    until ($self->{ended}) {
        my $left = $end - now();
        die "the answer did not end in time: $self->{method} $self->{path}\n" if $left <= 0;
        $self->pump($left);
    }
    return $self->{body};
}

sub story {
    my ($self, $what) = @_;
    my @last = map { ($_->{id} || '-') . " $_->{event}" } @{ $self->{seen} };
    splice @last, 0, -5 if @last > 5;
    return "$what: $self->{method} $self->{path}, status " . ($self->{status} || 'none')
        . ', last events: ' . (@last ? join('; ', @last) : 'none') . "\n";
}

sub events  { @{ $_[0]{events} } }      # read, but not taken yet
sub seen    { @{ $_[0]{seen} } }        # taken
sub ended   { $_[0]{ended} }            # undef, "whole", "closed" or an error's text
sub complete { $_[0]{complete} }        # the answer was marked as whole by its framing
sub status  { $_[0]{status} }
sub headers { $_[0]{response_headers} }

sub close { my $self = shift; CORE::close($self->{sock}) if $self->{sock} && !$self->{ended}; $self->{ended} ||= 'by us' }

# Closes with a reset, as a crashed client or a lost network does.
sub rst {
    my $self = shift;
    setsockopt($self->{sock}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)) unless $self->{ended};
    $self->close;
}

# Reads on all of these streams until the condition holds. Dies at the deadline with $what.
sub pump_all {
    my ($class, $streams, $until, $timeout, $what) = @_;
    my $end = now() + (defined $timeout ? $timeout : $TIMEOUT);
    until ($until->()) {
        my $left = $end - now();
        die 'timed out waiting for ' . ($what || 'streams') . "\n" if $left <= 0;
        my $poll = IO::Poll->new;
        my %by;
        for my $s (grep { !$_->{ended} } @$streams) {
            $poll->mask($s->{sock} => POLLIN | POLLHUP | POLLERR);
            $by{ fileno $s->{sock} } = $s;
        }
        if (!%by) { die 'all streams ended while waiting for ' . ($what || 'a condition') . "\n" unless $until->(); return }
        $poll->poll($left < 0.1 ? $left : 0.1);
        $by{ fileno $_ }->pump(0) for $poll->handles(POLLIN | POLLHUP | POLLERR);
    }
}

1;
