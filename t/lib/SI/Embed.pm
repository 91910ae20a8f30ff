package SI::Embed;

# A provider of embeddings for tests, in every wire format that Si speaks: SI::Model answers with it, `kind => 'embed'`.
#
#   dims => N           numbers of a vector unless the request says (4)
#   as => 'float'       OpenAI's: numbers, also when base64 was asked for
#   shuffle => 1        OpenAI's: vectors in the wrong order, each with its index
#   drop => 1           one vector too few
#   scale => X          every number times that
#
# The vector of a text is known to the test: vector($text, $dims), of numbers that are exact in float32.

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256 sha256_hex);
use Encode ();
use JSON::PP ();
use MIME::Base64 ();

sub vector {
    my ($text, $dims) = @_;
    $text = join ' ', @$text if ref $text;
    my $bytes = Encode::encode('UTF-8', $text);
    return map { (unpack('n', sha256("$bytes\0$_")) % 2048 - 1024) / 1024 || 1 / 1024 } 1 .. $dims;
}

# What a request asks for: its texts, and how many numbers of each.
sub asked {
    my ($path, $j) = @_;
    if ($path =~ m{/embeddings(?:\?|$)}) {
        my $in = $j->{input};
        return ([ref $in ? @$in : $in], $j->{dimensions}, 'openai');
    }
    return ([$j->{inputText}], $j->{dimensions}, 'titan') if $path =~ m{/invoke$};
    return ([ref $j->{inputs} ? @{ $j->{inputs} } : $j->{inputs}], undef, 'sagemaker') if $path =~ m{/invocations$};
    return ([map { $_->{content}{parts}[0]{text} } @{ $j->{requests} }], $j->{requests}[0]{outputDimensionality}, 'gemini') if $path =~ m{:batchEmbedContents$};
    die "no embeddings at $path\n";
}

sub tokens { my $n = 0; $n += ref $_ ? @$_ : int(length($_) / 4) + 1 for @_; return $n }

# Whether a request of SI::Model is signed as AWS Signature Version 4 says, counted anew from what came.
sub signed {
    my ($q, $region, $service, $secret) = @_;
    my ($scope, $names, $signature) = ($q->{headers}{authorization} || '') =~ m{^AWS4-HMAC-SHA256 Credential=[^/]+/([^,]+), SignedHeaders=([^,]+), Signature=(\w+)$} or return 0;
    my $when = $q->{headers}{'x-amz-date'};
    return 0 if $scope ne join '/', substr($when, 0, 8), $region, $service, 'aws4_request';
    my $path = join '/', map { s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger } split m{/}, $q->{path}, -1;
    my $canonical = join "\n", 'POST', $path, '', (map { "$_:$q->{headers}{$_}" } split /;/, $names), '', $names, sha256_hex($q->{body});
    my $key = "AWS4$secret";
    $key = hmac_sha256($_, $key) for split m{/}, $scope;
    return $signature eq hmac_sha256_hex(join("\n", 'AWS4-HMAC-SHA256', $when, $scope, sha256_hex($canonical)), $key);
}

# The body of the answer.
sub answer {
    my ($path, $j, $how) = @_;
    my ($texts, $dims, $kind) = asked($path, $j);
    $dims ||= $how->{dims} || 4;
    my $tokens = tokens(@$texts);
    my @v = map { [map { $_ * ($how->{scale} || 1) } vector($_, $dims)] } @$texts;
    pop @v if $how->{drop};
    return { embedding => $v[0], inputTextTokenCount => $tokens, embeddingsByType => { float => $v[0] } } if $kind eq 'titan';
    return $how->{shape} ? { $how->{shape} => \@v } : \@v if $kind eq 'sagemaker';
    return { embeddings => [map { { values => $_ } } @v] } if $kind eq 'gemini';
    my $base64 = ($j->{encoding_format} || 'float') eq 'base64' && ($how->{as} || '') ne 'float';
    my @data = map { { object => 'embedding', index => $_, embedding => $base64 ? MIME::Base64::encode_base64(pack('f<*', @{ $v[$_] }), '') : $v[$_] } } 0 .. $#v;
    @data = reverse @data if $how->{shuffle};
    return { object => 'list', data => \@data, model => $j->{model}, usage => { prompt_tokens => $tokens, total_tokens => $tokens } };
}

1;
