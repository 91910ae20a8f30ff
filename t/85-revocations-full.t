# A tenant that has as many revocations as it may: further ones are refused, those that are there count anew.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Test;
use SI::Test::Api;

my $si = SI::Test->start;
my $admin = member($si, create_key($si, 'full', 'boss', '--scopes', 'admin'));
my $other = member($si, create_key($si, 'other', 'boss', '--scopes', 'admin'));
my $iss = 'https://issuer.example';

sub revoke { my ($who, %what) = @_; return $who->json(POST => '/v1/revocations', { issuer => $iss, %what }) }
sub at { return ($si->pg("SELECT extract(epoch FROM revoked_at) FROM token_revocation WHERE value = '$_[0]'"))[0] }

is revoke($admin, subject => 'ann')->{status}, 201, 'a user is revoked';
$si->pg("INSERT INTO token_revocation (tenant_id, revocation_id, kind, issuer, value, marks, expires_at)"
    . " SELECT tenant_id, gen_random_uuid(), 'jti', '$iss', 'token ' || n, substr(sha256(n::text::bytea), 1, 16), now() + interval '1 day'"
    . " FROM tenant, generate_series(1, 499) n WHERE name = 'full'");
is_problem(revoke($admin, subject => 'bob'), 409, 'too_many_revocations', undef, 'no more than 500');
is revoke($other, subject => 'bob')->{status}, 201, 'another tenant has its own 500';
my $before = at('ann');
is revoke($admin, subject => 'ann')->{status}, 201, 'who was revoked is so again';
cmp_ok at('ann'), '>', $before, 'from now';
$si->pg("UPDATE token_revocation SET expires_at = now() - interval '1 second' WHERE value = 'token 1'");
is revoke($admin, subject => 'bob')->{status}, 201, 'one that has expired makes room';

done_testing();
