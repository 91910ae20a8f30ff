package SI::Test::Bedrock;

# A fake of Amazon Bedrock, and of a container's endpoint for credentials, in a process of its own. It checks each request's
# signature by itself, with the secret that it gave out last. Core Perl.
#
#   my $fake = SI::Test::Bedrock->start($folder);   $fake->port;   $fake->seen;
#
# What a model answers is in its name: "echo" says what was asked, "throttled" breaks off, "expired" is refused.

use strict;
use warnings;
use Compress::Zlib qw(crc32);
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(strftime);

my $json = JSON::PP->new->utf8->canonical;
my %keys = (AccessKeyId => 'ASIATEST', SecretAccessKey => 's3cret/of+test', Token => 'session//token==');

sub start {
    my ($class, $folder) = @_;
    my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
    my $self = bless { port => $listen->sockport, log => "$folder/bedrock.log", owner => $$ }, $class;
    open my $fh, '>', $self->{log} or die "$self->{log}: $!";
    close $fh;
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        $SIG{CHLD} = 'IGNORE';
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        while (1) {
            my $c = $listen->accept or next;
            next if fork;
            serve($self, $c) while 1;
        }
    }
    close $listen;
    return $self;
}

sub port { $_[0]{port} }

# Lines about what came so far: "creds", "signed MODEL", "wrong MODEL".
sub seen { my $self = shift; open my $fh, '<', $self->{log} or die "$self->{log}: $!"; chomp(my @lines = <$fh>); return @lines }

sub DESTROY {
    my $self = shift;
    return if $$ != $self->{owner} || !$self->{pid};
    local ($?, $!);
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
}

sub note_ { my ($self, $line) = @_; open my $fh, '>>', $self->{log} or POSIX::_exit(1); syswrite $fh, "$line\n" }

sub reply {
    my ($c, $status, $type, $body) = @_;
    syswrite $c, "HTTP/1.1 $status X\r\nContent-Type: $type\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}

# One message of the stream; all its headers are strings.
sub message {
    my ($headers, $payload) = @_;
    my $h = join '', map { pack('C/a* C n/a*', $_, 7, $headers->{$_}) } sort keys %$headers;
    my $m = pack('N N', 16 + length($h) + length $payload, length $h);
    $m .= pack('N', crc32($m)) . $h . $payload;
    return $m . pack('N', crc32($m));
}

sub event { my ($name, $value) = @_; return message({ ':message-type' => 'event', ':event-type' => $name, ':content-type' => 'application/json' }, $json->encode($value)) }
sub text { return event(contentBlockDelta => { contentBlockIndex => 0, delta => { text => $_[0] } }) }

# The signature that a request ought to have; '' when it names what we do not know.
sub expected {
    my ($head, $fields, $path, $body) = @_;
    my ($scope, $names) = ($fields->{authorization} || '') =~ m{^AWS4-HMAC-SHA256 Credential=\Q$keys{AccessKeyId}\E/(\S+), SignedHeaders=(\S+), } or return '';
    my ($day, $region, $service) = split m{/}, $scope;
    return '' if $service ne 'bedrock' || $region ne 'eu-test-1' || ($fields->{'x-amz-security-token'} || '') ne $keys{Token};
    return '' if $day ne strftime('%Y%m%d', gmtime) && $day ne strftime('%Y%m%d', gmtime(time - 60));
    (my $twice = $path) =~ s{([^A-Za-z0-9\-._~/])}{sprintf '%%%02X', ord $1}ge;
    my $canonical = join "\n", 'POST', $twice, '', (map { "$_:$fields->{$_}" } split /;/, $names), '', $names, sha256_hex($body);
    my $key = "AWS4$keys{SecretAccessKey}";
    $key = hmac_sha256($_, $key) for $day, $region, $service, 'aws4_request';
    return hmac_sha256_hex(join("\n", 'AWS4-HMAC-SHA256', $fields->{'x-amz-date'}, $scope, sha256_hex($canonical)), $key);
}

sub answer {
    my ($self, $c, $head, $fields, $path, $body) = @_;
    my ($model) = $path =~ m{^/model/([^/]+)/converse-stream$} or return reply($c, 404, 'application/json', '{"message":"no such path"}');
    my ($signature) = ($fields->{authorization} || '') =~ /Signature=([0-9a-f]{64})$/;
    my $good = ($signature || '') eq expected($head, $fields, $path, $body) && $signature;
    note_($self, ($good ? 'signed' : 'wrong') . " $model");
    return reply($c, 403, 'application/json', '{"message":"The request signature we calculated does not match"}') if !$good;
    return reply($c, 403, 'application/json', '{"message":"The security token included in the request is expired"}') if $model =~ /expired/;
    my $asked = $json->decode($body)->{messages}[-1]{content}[-1]{text};
    my $bytes = event(messageStart => { role => 'assistant' }) . text('You said: ');
    $bytes .= $model =~ /throttled/
        ? message({ ':message-type' => 'exception', ':exception-type' => 'throttlingException', ':content-type' => 'application/json' }, '{"message":"Too many tokens"}')
        : text($asked) . event(contentBlockStop => { contentBlockIndex => 0 }) . event(messageStop => { stopReason => 'max_tokens' })
          . event(metadata => { usage => { inputTokens => 5, outputTokens => 7, totalTokens => 12 }, metrics => { latencyMs => 1 } });
    # In pieces that keep to no message's bounds.
    syswrite $c, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n";
    syswrite $c, sprintf("%x\r\n%s\r\n", length $_, $_) for unpack '(a37)*', $bytes;
    syswrite $c, "0\r\n\r\n";
}

sub serve {
    my ($self, $c) = @_;
    my $in = '';
    until ($in =~ /\r\n\r\n/) { sysread($c, $in, 65536, length $in) or POSIX::_exit(0) }
    my ($head, $body) = split /\r\n\r\n/, $in, 2;
    my ($line, @rest) = split /\r\n/, $head;
    my %fields = map { my ($n, $v) = split /:\s*/, $_, 2; (lc $n, $v) } @rest;
    while (length $body < ($fields{'content-length'} || 0)) { sysread($c, $body, 65536, length $body) or POSIX::_exit(0) }
    my ($path) = $line =~ m{^[A-Z]+ (\S+) };
    if ($path eq '/creds') {
        note_($self, 'creds');
        return reply($c, 200, 'application/json', $json->encode({ %keys, Expiration => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + 3600)) }));
    }
    answer($self, $c, $head, \%fields, $path, $body);
}

1;
