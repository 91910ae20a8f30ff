package SI::Test::Jwt;

# An identity provider of the test: keys made by openssl, their JWK set, tokens. Core Perl and openssl(1).
#
#   my $idp = SI::Test::Jwt->new($folder);  $idp->add('k1', 'RS256');  $idp->write("$folder/keys.json");
#   my $token = $idp->token({ sub => 'anna', … }, kid => 'k1');

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use MIME::Base64 ();

my $json = JSON::PP->new->utf8->canonical;

sub base64url { (my $s = MIME::Base64::encode_base64($_[0], '')) =~ tr{+/}{-_}; $s =~ s/=+\z//; return $s }

sub new { my ($class, $folder) = @_; return bless { folder => $folder, keys => {} }, $class }

sub openssl {
    my @cmd = @_;
    open my $out, '-|', 'openssl', @cmd or die "openssl: $!";
    binmode $out;
    local $/;
    my $text = <$out>;
    close $out or die "openssl @cmd failed\n";
    return $text;
}

# A new key of this name: RS256, ES256, or HS256 with a secret of 32 bytes.
sub add {
    my ($self, $kid, $alg) = @_;
    my $file = "$self->{folder}/$kid.pem";
    my $k = $self->{keys}{$kid} = { alg => $alg, file => $file, jwk => { kid => $kid, alg => $alg, use => 'sig' } };
    if ($alg eq 'HS256') {
        $k->{secret} = join '', map { chr(33 + int rand 90) } 1 .. 32;
        @{ $k->{jwk} }{qw(kty k)} = ('oct', base64url($k->{secret}));
    } elsif ($alg eq 'RS256') {
        openssl('genpkey', '-quiet', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', $file) if !eval { openssl('genrsa', '-out', $file, '2048'); 1 };
        my ($n) = openssl('rsa', '-in', $file, '-noout', '-modulus') =~ /Modulus=([0-9A-F]+)/ or die "no modulus\n";
        @{ $k->{jwk} }{qw(kty n e)} = ('RSA', base64url(pack 'H*', $n), 'AQAB');
    } else {
        openssl('ecparam', '-genkey', '-noout', '-name', 'prime256v1', '-out', $file);
        my $point = substr openssl('pkey', '-in', $file, '-pubout', '-outform', 'DER'), -64;
        @{ $k->{jwk} }{qw(kty crv x y)} = ('EC', 'P-256', base64url(substr $point, 0, 32), base64url(substr $point, 32));
    }
    return $self;
}

# A set of these keys, or of all.
sub write {
    my ($self, $file, @kids) = @_;
    open my $fh, '>', "$file.new" or die "$file: $!";
    print $fh $json->encode({ keys => [map { $self->{keys}{$_}{jwk} } @kids ? @kids : sort keys %{ $self->{keys} }] });
    close $fh;
    chmod 0644, "$file.new";
    rename "$file.new", $file or die "$file: $!";
}

# r and s of a DER signature, 32 bytes each.
sub raw_ecdsa {
    my $der = shift;
    my @numbers;
    my $at = 2;
    for (1, 2) {
        my $n = ord substr $der, $at + 1, 1;
        my $v = substr $der, $at + 2, $n;
        push @numbers, substr(("\0" x 32) . $v, -32);
        $at += 2 + $n;
    }
    return join '', @numbers;
}

sub sign {
    my ($self, $k, $text) = @_;
    return hmac_sha256($text, $k->{secret}) if defined $k->{secret};
    my $file = "$self->{folder}/input";
    open my $fh, '>:raw', $file or die "$file: $!";
    print $fh $text;
    close $fh;
    my $sig = openssl('dgst', '-sha256', '-sign', $k->{file}, $file);
    return $k->{alg} eq 'ES256' ? raw_ecdsa($sig) : $sig;
}

# A token with these claims. Options: kid (the key), header (members over the usual ones), secret (signs with HMAC), unsigned.
sub token {
    my ($self, $claims, %o) = @_;
    my $k = $o{secret} ? { secret => $o{secret} } : $self->{keys}{ $o{kid} };
    my %header = (alg => $o{secret} ? 'HS256' : $k->{alg}, kid => $o{kid}, typ => 'JWT', %{ $o{header} || {} });
    my $text = base64url($json->encode(\%header)) . '.' . base64url(ref $claims ? $json->encode($claims) : $claims);
    return "$text." . ($o{unsigned} ? '' : base64url($self->sign($k, $text)));
}

1;
