package SI::Test::Schema;

# Checks JSON values against the schemas of an OpenAPI 3.1 document, as far as that of Si goes: $ref, type, properties,
# required, additionalProperties: false, items, enum, const, oneOf, minimum, lengths, format uuid and date-time. A keyword that it does
# not know is an error, so that no rule is passed over in silence.
#
#   my $schema = SI::Test::Schema->new($openapi);
#   my @wrong = $schema->check('Turn', $value);

use strict;
use warnings;
use B ();
use JSON::PP ();

my %annotation = map { $_ => 1 } qw(description example examples discriminator);
my %format = (uuid => qr/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'date-time' => qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/);

sub new { my ($class, $doc) = @_; return bless { doc => $doc }, $class }

# What is wrong with the value, as lines; $of: a name under components/schemas, or a schema.
sub check { my ($self, $of, $value) = @_; return $self->look(ref $of ? $of : { '$ref' => "#/components/schemas/$of" }, $value, '$') }

sub resolve {
    my ($self, $ref) = @_;
    my $at = $self->{doc};
    for my $name (split m{/}, $ref =~ s{^#/}{}r) { $at = $at->{$name} // die "nothing is at $ref\n" }
    return $at;
}

sub type_of {
    my $v = shift;
    return 'null' unless defined $v;
    return 'boolean' if JSON::PP::is_bool($v);
    return 'object' if ref $v eq 'HASH';
    return 'array' if ref $v eq 'ARRAY';
    return 'string' if B::svref_2object(\$v)->FLAGS & B::SVf_POK();
    return $v == int $v ? 'integer' : 'number';
}

sub look {
    my ($self, $s, $v, $path) = @_;
    return $self->look($self->resolve($s->{'$ref'}), $v, $path) if $s->{'$ref'};
    my @wrong;
    for my $word (sort keys %$s) {
        next if $annotation{$word};
        my $rule = $self->can("rule_$word") or die "$path: the keyword $word is unknown here\n";
        push @wrong, $rule->($self, $s->{$word}, $v, $path, $s);
    }
    return @wrong;
}

sub rule_type {
    my ($self, $want, $v, $path) = @_;
    my $is = type_of($v);
    my @want = ref $want ? @$want : $want;
    return (grep { $_ eq $is || ($_ eq 'number' && $is eq 'integer') } @want) ? () : "$path is $is, not @want";
}

sub rule_properties {
    my ($self, $props, $v, $path) = @_;
    return () unless ref $v eq 'HASH';
    return map { exists $v->{$_} ? $self->look($props->{$_}, $v->{$_}, "$path.$_") : () } sort keys %$props;
}

sub rule_required { my ($self, $names, $v, $path) = @_; return ref $v eq 'HASH' ? map { exists $v->{$_} ? () : "$path.$_ is missing" } @$names : () }

sub rule_additionalProperties {
    my ($self, $may, $v, $path, $s) = @_;
    return () if $may || ref $v ne 'HASH';
    return map { exists $s->{properties}{$_} ? () : "$path.$_ is not in the schema" } sort keys %$v;
}

sub rule_items { my ($self, $of, $v, $path) = @_; return ref $v eq 'ARRAY' ? map { $self->look($of, $v->[$_], "$path\[$_\]") } 0 .. $#$v : () }

sub rule_oneOf {
    my ($self, $list, $v, $path) = @_;
    my @tried = map { [$self->look($_, $v, $path)] } @$list;
    my $n = grep { !@$_ } @tried;
    return $n == 1 ? () : "$path fits $n of " . @$list . ' schemas' . ($n ? '' : ' (' . join('; ', map { @$_ } @tried) . ')');
}

sub rule_enum   { my ($self, $of, $v, $path) = @_; return (grep { $_ eq ($v // '') } @$of) ? () : "$path is " . ($v // 'null') . ', none of ' . join ' ', @$of }
sub rule_const  { my ($self, $is, $v, $path) = @_; return ($v // '') eq $is ? () : "$path is not $is" }
sub rule_format { my ($self, $name, $v, $path) = @_; my $re = $format{$name} or die "$path: the format $name is unknown here\n"; return !defined $v || $v =~ $re ? () : "$path is no $name: $v" }
sub rule_minimum   { my ($self, $min, $v, $path) = @_; return type_of($v) !~ /integer|number/ || $v >= $min ? () : "$path is less than $min" }
sub rule_maximum   { my ($self, $max, $v, $path) = @_; return type_of($v) !~ /integer|number/ || $v <= $max ? () : "$path is more than $max" }
sub rule_minLength { my ($self, $min, $v, $path) = @_; return type_of($v) ne 'string' || length $v >= $min ? () : "$path is shorter than $min" }
sub rule_maxLength { my ($self, $max, $v, $path) = @_; return type_of($v) ne 'string' || length $v <= $max ? () : "$path is longer than $max" }
sub rule_default   { return () }

1;
