package SI::Collector;

# A collector of traces: SI::Model's server, which answers as the test says, with the spans that came. Each span is held against
# OTLP's JSON (names in lower camel case, ids in hex, enums as numbers, 64-bit numbers as texts) as it is read.
#
#   my $c = SI::Collector->start;
#   $c->wait_spans(sub { @_ > 2 });         # all that came, until that is true of them
#   $c->next(kind => 'status', status => 429);

use strict;
use warnings;
use parent -norequire, 'SI::Model';
use JSON::PP ();
use SI::Model;
use SI::Test;

my %MEMBERS = map { $_ => 1 } qw(traceId spanId parentSpanId flags name kind startTimeUnixNano endTimeUnixNano attributes droppedAttributesCount events links status);

sub start {
    my ($class, %o) = @_;
    my $self = $class->SUPER::start(%o);
    @$self{qw(read spans bodies)} = (0, [], '');
    $self->well;
    return $self;
}

sub well { $_[0]->default(kind => 'status', status => 200, body => '{"partialSuccess":{}}', headers => { 'Content-Type' => 'application/json' }) }
# Without /v1.
sub endpoint { my $url = $_[0]->base_url; $url =~ s{/v1$}{}; return $url }

# What has come and was not read before; requests that were not answered with 200 count as well.
sub read {
    my $self = shift;
    while ($self->{read} < $self->count) {
        my $q = $self->request(++$self->{read});
        die "not a request for traces: $q->{method} $q->{path}\n" if "$q->{method} $q->{path}" ne 'POST /v1/traces' || $q->{headers}{'content-type'} ne 'application/json';
        $self->{bodies} .= $q->{body};
        for my $r (@{ $q->{json}{resourceSpans} }) {
            my $resource = attributes($r->{resource}{attributes});
            for my $scope (@{ $r->{scopeSpans} }) { push @{ $self->{spans} }, map { span($_, $resource, $q->{n}) } @{ $scope->{spans} } }
        }
    }
    return @{ $self->{spans} };
}

sub wait_spans {
    my ($self, $cond) = @_;
    poll_until { $cond->($self->read) } undef, 'spans';
    return @{ $self->{spans} };
}

sub bodies { $_[0]{bodies} }

sub span {
    my ($s, $resource, $request) = @_;
    my @unknown = grep { !$MEMBERS{$_} } keys %$s;
    die "unknown members of a span: @unknown\n" if @unknown;
    die "a wrong id\n" if grep { !defined || !/^(?:[0-9a-f]{16}){1,2}$/ || /^0+$/ } $s->{traceId}, $s->{spanId}, $s->{parentSpanId} // 'f' x 16;
    die "wrong times\n" if grep { !/^1\d{18}$/ } $s->{startTimeUnixNano}, $s->{endTimeUnixNano};
    die "ended before it began\n" if $s->{startTimeUnixNano} gt $s->{endTimeUnixNano};
    my $got = { %$s, resource => $resource, request => $request, at => attributes($s->{attributes}) };
    $got->{event_at} = [map { attributes($_->{attributes} || []) } @{ $s->{events} || [] }];
    $got->{events} = [map { die "an event without time\n" if $_->{timeUnixNano} lt $s->{startTimeUnixNano}; $_->{name} } @{ $s->{events} || [] }];
    $got->{links} = [map { { %$_, at => attributes($_->{attributes}) } } @{ $s->{links} || [] }];
    return $got;
}

sub attributes {
    my %at;
    for my $a (@{ $_[0] || [] }) {
        my ($type, @more) = keys %{ $a->{value} };
        my $v = $a->{value}{$type};
        die "$a->{key} comes twice\n" if exists $at{ $a->{key} };
        die "$a->{key} has more than one value\n" if @more;
        die "$a->{key} is no text\n" if $type eq 'intValue' && JSON::PP->new->encode([$v]) !~ /^\["-?\d+"\]$/;
        $at{ $a->{key} } = $type eq 'arrayValue' ? [map { $_->{stringValue} } @{ $v->{values} }]
            : $type eq 'boolValue' ? ($v ? 1 : 0)
            : $type =~ /^(?:string|int|double)Value$/ ? $v : die "$a->{key}: $type\n";
    }
    return \%at;
}

1;
