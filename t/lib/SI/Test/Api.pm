package SI::Test::Api;

# What the tests of the API say again and again. Most functions take the SI::Test first.

use strict;
use warnings;
use Digest::SHA ();
use Exporter 'import';
use JSON::PP ();
use Test::More ();
use SI::Test;

our @EXPORT = qw(conversation post_turn wait_turn run_turn text_of ids_grow is_problem same_bytes by_id sictl create_key stranger member key_rested);

# Name of an event, or of a state, by which a turn is over.
my $final = qr/^(?:turn\.)?(?:completed|failed|cancelled)$/;

# With a key_rest of 1ms: a key that has failed is asked again.
sub key_rested { my $from = now_ms(); return poll_until { now_ms() > $from + 1 } }

# A new conversation; its id.
sub conversation {
    my ($si, $body, $headers) = @_;
    my $r = $si->json(POST => '/v1/conversations', $body || {}, $headers);
    die "POST /v1/conversations: $r->{status} $r->{body}\n" if $r->{status} != 201;
    return $r->{json}{id};
}

# A turn that nobody waits for; the turn object. $input: text, or the whole body.
sub post_turn {
    my ($si, $conv, $input, $headers) = @_;
    my $r = $si->json(POST => "/v1/conversations/$conv/turns", ref $input ? $input : { input => $input },
        { Prefer => 'respond-async', %{ $headers || {} } });
    die "POST turns: $r->{status} $r->{body}\n" if $r->{status} != 202;
    return $r->{json};
}

# Until the turn is over, or in that state; the turn object.
sub wait_turn {
    my ($si, $id, $state) = @_;
    return poll_until {
        my $t = $si->json(GET => "/v1/turns/$id")->{json};
        $t && $t->{state} && ($state ? $t->{state} eq $state : $t->{state} =~ $final) && $t;
    } undef, 'turn ' . ($state || 'end');
}

# A turn from its beginning to its end; the finished turn object.
sub run_turn {
    my ($si, $conv, $input, $headers) = @_;
    my $r = $si->json(POST => "/v1/conversations/$conv/turns", ref $input ? $input : { input => $input }, $headers);
    die "POST turns: $r->{status} $r->{body}\n" if $r->{status} != 200;
    return $r->{json};
}

# The text of the deltas among these events.
sub text_of { return join '', map { $_->{data}{text} } grep { $_->{event} eq 'delta' } @_ }

sub by_id { return { map { $_->{id} => $_->{raw} } @_ } }

# True when each id is greater than the one before, by turn and then by number.
sub ids_grow {
    my ($turn, $number) = (0, 0);
    for my $e (@_) {
        my ($t, $n) = ($e->{id} || '') =~ /^(\d+)\.(\d+)$/ or return 0;
        return 0 unless $t > $turn || ($t == $turn && $n > $number);
        ($turn, $number) = ($t, $n);
    }
    return 1;
}

# A test: every event of the list has the bytes that the reference (an id => bytes hash) has for its id.
sub same_bytes {
    my ($reference, $events, $name) = @_;
    my @other = grep { ($reference->{ $_->{id} } // '') ne $_->{raw} } @$events;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::ok(!@other, $name) or Test::More::diag('differs, or is not there: '
        . join ', ', map { "$_->{id} $_->{event}" } @other);
}

# A test: the answer is this problem, whole and in its form. $field: undef if there must be none.
sub is_problem {
    my ($r, $status, $code, $field, $name) = @_;
    my $p = eval { JSON::PP->new->utf8->decode($r->{body}) };
    my @wrong;
    push @wrong, "status $r->{status}" if $r->{status} != $status;
    push @wrong, 'type ' . ($r->{headers}{'content-type'} // 'none') if ($r->{headers}{'content-type'} // '') !~ m{^application/problem\+json(?:;|$)};
    push @wrong, 'not whole' unless $r->{complete};
    if (ref $p ne 'HASH') { push @wrong, 'no JSON object' }
    else {
        push @wrong, 'code ' . ($p->{code} // 'none') if ($p->{code} // '') ne $code;
        push @wrong, 'field ' . ($p->{field} // 'none') if ($p->{field} // '') ne ($field // '');
        push @wrong, 'status in the body' if ($p->{status} // 0) != $status;
        push @wrong, "no $_" for grep { !length($p->{$_} // '') } qw(type title detail);
    }
    push @wrong, 'no WWW-Authenticate' if $status == 401 && ($r->{headers}{'www-authenticate'} // '') !~ /^Bearer/;
    push @wrong, 'no Allow' if $status == 405 && !length($r->{headers}{allow} // '');
    push @wrong, 'no Retry-After' if $status == 503 && ($r->{headers}{'retry-after'} // '') !~ /^\d+$/;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::ok(!@wrong, "$name: $status $code" . (defined $field ? " $field" : ''))
        or Test::More::diag(join('; ', @wrong) . ': ' . substr $r->{body}, 0, 300);
}

# Runs sictl with the tables' owner; what it prints.
sub sictl {
    my ($si, @args) = @_;
    my ($rc, $out) = SI::Test::run({ env => { SI_DATABASE_URL => $si->{env_file}{SI_DATABASE_URL}, SI_TEST_MODEL_KEY => 'test-key' } },
        SI::Test::build_dir() . '/sictl', '-c', root() . '/conf/si.yaml', '-c', $si->dir . '/generated.yaml', @args);
    die "sictl @args: $rc $out\n" if $rc;
    return $out;
}

# A key of that tenant's user, both made if they are not there. More options of sictl may follow.
sub create_key {
    my ($si, @args) = @_;
    my ($key) = sictl($si, 'key', 'create', @args) =~ /^(sk_si_\S+)$/m or die 'sictl printed no key';
    return $key;
}

# A key that nobody has, of the right form.
sub stranger {
    my @digit = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    my $body = 'sk_si_' . join '', map { $digit[rand 62] } 1 .. 40;
    my ($v, $sum) = (unpack('N', Digest::SHA::sha256($body)), '');
    for (1 .. 6) { $sum = $digit[$v % 62] . $sum; $v = int($v / 62) }
    return $body . $sum;
}

# The same Si with another key.
sub member { my ($si, $key) = @_; return SI::Test::Api::Member->new($si, $key) }

package SI::Test::Api::Member;

our @ISA = ('SI::Test');

sub new {
    my ($class, $si, $key) = @_;
    return bless { port => $si->{port}, dir => $si->{dir}, env_file => { %{ $si->{env_file} }, SI_KEY => $key } }, $class;
}

1;
