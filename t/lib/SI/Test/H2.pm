package SI::Test::H2;

# A small HTTP/2 client (RFC 9113) over cleartext that gives the server no more window than the test says.
#
#   my $h2 = SI::Test::H2->new(port => $port, window => 0);         # initial window of each stream, bytes
#   my $id = $h2->get('/v1/…/events', Authorization => "Bearer $key");
#   $h2->wait(sub { $h2->{head}{$id} }, 'a response');
#   $h2->open($id, 100);                # lets 100 more bytes come
#   $h2->{data}{$id}                    # what has come
#   $h2->ping                           # all that was sent before is in
#
# {head}{$id}: the header block as sent; {end}{$id}: "whole", or the code of RST_STREAM; {closed}: the connection has ended.

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant { DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, PING => 6, GOAWAY => 7, WINDOW_UPDATE => 8 };
use constant { END_STREAM => 1, ACK => 1, END_HEADERS => 4, INITIAL_WINDOW_SIZE => 4 };

sub new {
    my ($class, %o) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $o{port}, Proto => 'tcp', Timeout => 10) or die "connect: $@";
    my $self = bless { sock => $sock, in => '', next => 1, pongs => 0, data => {}, head => {}, end => {} }, $class;
    syswrite $sock, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    $self->frame(SETTINGS, 0, 0, pack 'nN', INITIAL_WINDOW_SIZE, $o{window});
    $self->open(0, 1 << 30);        # that of the connection holds nobody back
    return $self;
}

sub frame {
    my ($self, $type, $flags, $id, $payload) = @_;
    my $bytes = substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $id) . $payload;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $self->{sock}, $bytes;
}

# A literal field that is not indexed, without Huffman coding (RFC 7541, 6.2.2).
sub field { return join '', "\0", map { length $_ < 127 ? chr(length $_) . $_ : die "too long: $_\n" } @_ }

# Begins a request; the number of its stream.
sub get {
    my ($self, $path, @headers) = @_;
    my $id = $self->{next};
    $self->{next} += 2;
    $self->{data}{$id} = '';
    my @all = (':method' => 'GET', ':scheme' => 'http', ':authority' => 'si.example', ':path' => $path, @headers);
    my $block = '';
    while (my ($name, $value) = splice @all, 0, 2) { $block .= field(lc $name, $value) }
    $self->frame(HEADERS, END_STREAM | END_HEADERS, $id, $block);
    return $id;
}

sub open { my ($self, $id, $bytes) = @_; $self->frame(WINDOW_UPDATE, 0, $id, pack 'N', $bytes) }

# The server answers frames in order, so with this one's answer all earlier output is in.
sub ping {
    my $self = shift;
    my $want = $self->{pongs} + 1;
    $self->frame(PING, 0, 0, 'ping1234');
    $self->wait(sub { $self->{pongs} >= $want }, 'an answer to PING');
}

sub take {
    my ($self, $type, $flags, $id, $payload) = @_;
    if ($type == DATA) { $self->{data}{$id} .= $payload }
    elsif ($type == HEADERS) { $self->{head}{$id} = $payload }
    elsif ($type == RST_STREAM) { $self->{end}{$id} = unpack 'N', $payload }
    elsif ($type == SETTINGS && !($flags & ACK)) { $self->frame(SETTINGS, ACK, 0, '') }
    elsif ($type == PING && $flags & ACK) { $self->{pongs}++ }
    elsif ($type == GOAWAY) { $self->{goaway} = 1 }
    $self->{end}{$id} = 'whole' if ($type == DATA || $type == HEADERS) && $flags & END_STREAM;
}

sub wait {
    my ($self, $until, $what) = @_;
    my $end = clock_gettime(CLOCK_MONOTONIC) + 30;
    until ($until->()) {
        die "timed out waiting for $what over HTTP/2\n" if clock_gettime(CLOCK_MONOTONIC) > $end;
        die "the connection ended before $what\n" if $self->{closed};
        next unless IO::Select->new($self->{sock})->can_read(0.1);
        $self->{closed} = 1 unless sysread $self->{sock}, $self->{in}, 65536, length $self->{in};
        while (length $self->{in} >= 9) {
            my ($high, $low, $type, $flags, $id) = unpack 'CnCCN', $self->{in};
            my $length = $high << 16 | $low;
            last if length $self->{in} < 9 + $length;
            my $payload = substr $self->{in}, 9, $length;
            substr($self->{in}, 0, 9 + $length) = '';
            $self->take($type, $flags, $id, $payload);
        }
    }
    return 1;
}

1;
