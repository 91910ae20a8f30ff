# What one user may call in all, with every key and token he has ($si_caller, conf/nginx.conf).
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use Test::More;

my $dir = File::Temp::tempdir('si-caller-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('r1', 'RS256');
$idp->write("$dir/keys.json", 'r1');
open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si;\nsi_auth_jwt_keys file=$dir/keys.json;\nsi_auth_claim tenant org;\n",
    'include ', root(), "/conf/si-locations.conf;\n";
close $fh;

my $si = SI::Test->start(limits => 1, nginx => "include $dir/si-locations.conf;si_limit_zone \$si_caller zone=caller:8m rate=1r/m burst=4");
sub token { my ($user, $id) = @_; return $idp->token({ iss => 'https://id.example', sub => $user, aud => 'si', exp => time + 300, jti => $id, org => 'acme' }, kid => 'r1') }
sub ask { my $bearer = shift; return $si->http(GET => '/v1/conversations', { Authorization => "Bearer $bearer" })->{status} }

# Each is new once, and charged to itself; then all of them to their user, who has four.
sub shared {
    my ($what, $mine, $other) = @_;
    is join(' ', map { ask($_) } @$mine), join(' ', (200) x @$mine), "$what of a user";
    is join(' ', map { ask($mine->[$_ % @$mine]) } 1 .. 6), '200 200 200 200 429 429', 'have one limit together';
    is ask($other), 200, 'another user has another';
}

subtest 'keys' => sub { shared('two keys', [map { create_key($si, 'acme', 'ann') } 1 .. 2], create_key($si, 'acme', 'bob')) };
subtest 'tokens' => sub { shared('three tokens', [map { token('carl', $_) } 1 .. 3], token('dora', 1)) };

subtest 'who is refused' => sub {
    my $bad = token('carl', 9) =~ s/([^.]+)$/reverse $1/er;
    is ask($bad), 401, 'a forged token has a limit of its own';
    is ask(token('carl', 4)), 200, 'as each new one, once';
    is ask(token('carl', 4)), 429, 'then it is the user\'s';
    like slurp($si->dir . '/logs/access.log'), qr/"status":429/, 'the log has refusals';
};

is_deeply [$si->stop], [], 'all ended well';
done_testing;
