package SI::Test::Socket;

# A WebSocket client (RFC 6455) on the connection of SI::Test::Stream: frames as the test wants them, messages as they come.
#
#   my $w = SI::Test::Socket->new(port => $si->port, key => $si->key);
#   $w->say({ type => 'subscribe', conversation => $id, ref => 'a' });
#   is $w->reply('a')->{status}, 200;
#   my $e = $w->event('turn.completed');        # { id, event, conversation, data }
#   is $w->close_code, 1012;

use strict;
use warnings;
use parent 'SI::Test::Stream';
use Digest::SHA qw(sha1_base64);
use JSON::PP ();
use MIME::Base64 qw(encode_base64);

my $json = JSON::PP->new->utf8->canonical;

# As SI::Test::Stream; key: an API key; pong => 0: pings are not answered; wait => 0: the answer to the handshake is not awaited.
sub new {
    my ($class, %o) = @_;
    my $nonce = encode_base64(join('', map { chr int rand 256 } 1 .. 16), '');
    my $self = SI::Test::Stream::new($class, path => '/v1/socket', pong => 1, wait => 1, %o, nonce => $nonce, headers => {
        Upgrade => 'websocket', Connection => 'Upgrade', 'Sec-WebSocket-Version' => 13, 'Sec-WebSocket-Key' => $nonce,
        $o{key} ? (Authorization => "Bearer $o{key}") : (), %{ $o{headers} || {} } });
    return $self unless $self->{wait};
    $self->head;
    die "the handshake was answered $self->{status} $self->{body}\n" if $self->{status} != 101;
    (my $accept = sha1_base64("${nonce}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) .= '=';
    die "Sec-WebSocket-Accept is wrong\n" if ($self->{response_headers}{'sec-websocket-accept'} || '') ne $accept;
    return $self;
}

# --- what comes ---

sub feed {
    my ($self, $bytes) = @_;
    $self->{in} .= $bytes;
    if (!$self->{status} && $self->{in} =~ s{^(HTTP/1\.1 101 .*?)\r\n\r\n}{}s) { $self->parse_head($1) }
    return $self->SUPER::feed('') if ($self->{status} || 0) != 101;
    while (length $self->{in} >= 2) {
        my ($first, $n) = unpack 'CC', $self->{in};
        my $head = 2;
        die "the server sent a masked frame\n" if $n & 0x80;
        if ($n == 126) { return if length $self->{in} < 4; $n = unpack 'x2 n', $self->{in}; $head = 4 }
        die "the server sent a very long frame\n" if $n == 127;
        return if length $self->{in} < $head + $n;
        my (undef, $payload) = (substr($self->{in}, 0, $head, ''), substr($self->{in}, 0, $n, ''));
        $self->got_frame($first, $payload);
    }
}

sub got_frame {
    my ($self, $first, $payload) = @_;
    my $op = $first & 0x0f;
    push @{ $self->{frames} }, [$first, length $payload];
    if ($op == 9) { $self->{pings}++; $self->frame(10, $payload) if $self->{pong}; return }
    if ($op == 10) { push @{ $self->{pongs} }, $payload; return }
    if ($op == 8) {
        @$self{qw(code reason)} = length $payload ? unpack('n a*', $payload) : (1005, '');
        return;
    }
    $self->{text} = '' if $op == 1;
    $self->{text} .= $payload;
    push @{ $self->{messages} }, $json->decode(delete $self->{text}) if $first & 0x80;
}

# The first message, of those not taken yet, for which the block is true; messages before it stay. Undef when the socket ends.
sub message(&$;$) {
    my ($want, $self, $timeout) = @_;
    my $end = SI::Test::Stream::now() + (defined $timeout ? $timeout : $SI::Test::Stream::TIMEOUT);
    my $looked = 0;
    while (1) {
        for (; $looked < @{ $self->{messages} || [] }; $looked++) {
            local $_ = $self->{messages}[$looked];
            return splice @{ $self->{messages} }, $looked, 1 if $want->();
        }
        return if $self->{ended} || defined $self->{code};
        my $left = $end - SI::Test::Stream::now();
        die "no such message came; there are " . $json->encode($self->{messages} || []) . "\n" if $left <= 0;
        $self->pump($left);
    }
}

sub reply { my ($self, $ref) = @_; return message { ($_->{type} || '') eq 'reply' && ($_->{ref} // '') eq $ref } $self }

# Takes events up to the first of this type (a string or a regular expression); returns the last, or all in a list.
sub event {
    my ($self, $type) = @_;
    return $self->take_events(sub { ref $type ? $_[0]{event} =~ $type : $_[0]{event} eq $type });
}

# The same, up to one of this turn.
sub event_of {
    my ($self, $turn, $type) = @_;
    return $self->take_events(sub { $_[0]{event} eq $type && $_[0]{data}{turn} eq $turn });
}

sub take_events {
    my ($self, $last) = @_;
    my @got;
    until (@got && $last->($got[-1])) {
        push @got, (message { $_->{event} } $self) || die "the socket ended before such an event came\n";
        push @{ $self->{seen} }, $got[-1];
    }
    return wantarray ? @got : $got[-1];
}

# Waits until the server has closed; its code.
sub close_code {
    my $self = shift;
    message { 0 } $self;
    return $self->{code};
}

# --- what goes ---

# A masked frame; fin => 0, mask => 0, rsv => bits.
sub frame {
    my ($self, $op, $payload, %o) = @_;
    $self->send_all(encode($op, $payload, %o));
}

sub encode {
    my ($op, $payload, %o) = @_;
    my $n = length $payload;
    my $bit = !defined $o{mask} || $o{mask} ? 0x80 : 0;
    my $head = pack 'C', $op | ($o{rsv} || 0) | (!defined $o{fin} || $o{fin} ? 0x80 : 0);
    $head .= $n < 126 ? pack('C', $bit | $n) : $n < 65536 ? pack('C n', $bit | 126, $n) : pack('C Q>', $bit | 127, $n);
    return $head . $payload unless $bit;
    my $mask = pack 'N', int rand 2**32;
    return $head . $mask . ($payload ^ substr($mask x ($n / 4 + 1), 0, $n));
}

sub say { my ($self, $command) = @_; $self->frame(1, $json->encode($command)); return $self }

# Subscribes and returns the reply.
sub subscribe {
    my ($self, $conversation, %more) = @_;
    my $ref = 's' . ++$self->{refs};
    $self->say({ type => 'subscribe', conversation => $conversation, ref => $ref, %more });
    return $self->reply($ref);
}

1;
