package cloud

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// The owner tags. Every resource carries all three from the moment it is made, which is how it is found again.
const (
	TagIdentity = "pipectl.dev/identity"
	TagKind     = "pipectl.dev/kind"
	TagName     = "pipectl.dev/name"
)

// TagRun names the run that took a last snapshot: taking one has no client token, and one of an earlier run is no last state.
const TagRun = "pipectl.dev/taken-by-run"

// Tags are the owner tags of one resource, and a Name for people.
func Tags(identity, kind, name string) map[string]string {
	return map[string]string{TagIdentity: identity, TagKind: kind, TagName: name, "Name": name}
}

// Ours reports whether tags say that identity owns the resource as kind and name.
func Ours(tags map[string]string, identity, kind, name string) bool {
	return tags[TagIdentity] == identity && tags[TagKind] == kind && tags[TagName] == name
}

// EC2Tags turns tags into EC2's form, sorted, so that the same request has the same text.
func EC2Tags(tags map[string]string) []ec2types.Tag {
	var out []ec2types.Tag
	for _, k := range sorted(tags) {
		out = append(out, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// EC2TagMap is the reverse of EC2Tags.
func EC2TagMap(tags []ec2types.Tag) map[string]string {
	return tagMap(tags, func(t ec2types.Tag) (key, value *string) { return t.Key, t.Value })
}

func tagMap[T any](tags []T, of func(T) (key, value *string)) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		key, value := of(t)
		m[aws.ToString(key)] = aws.ToString(value)
	}
	return m
}

// TagAtCreate is the TagSpecifications of a create call: there must be no moment at which the resource exists without its tags.
func TagAtCreate(kind ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: EC2Tags(tags)}}
}

// OwnedBy is the filter for all EC2 resources of one kind that identity owns.
func OwnedBy(identity string) []ec2types.Filter {
	return []ec2types.Filter{Filter("tag:"+TagIdentity, identity)}
}

// Filter is one EC2 filter.
func Filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: aws.String(name), Values: values}
}

// IAMTags turns tags into IAM's form, sorted.
func IAMTags(tags map[string]string) []iamtypes.Tag {
	var out []iamtypes.Tag
	for _, k := range sorted(tags) {
		out = append(out, iamtypes.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// IAMTagMap is the reverse of IAMTags.
func IAMTagMap(tags []iamtypes.Tag) map[string]string {
	return tagMap(tags, func(t iamtypes.Tag) (key, value *string) { return t.Key, t.Value })
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// ClientToken makes a create call idempotent: the same facts give the same token, at most 64 ASCII characters. The facts must hold
// something that changes once the resource was removed (its parent's id, the run), or AWS may answer with the one that is gone.
func ClientToken(facts ...any) string {
	text, err := json.Marshal(facts)
	if err != nil {
		panic("cloud: a token's facts must be plain data: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return "pipectl-" + hex.EncodeToString(sum[:20])
}

// UniqueName makes an account-wide name of at most limit characters for what service knows by name only: the readable parts, then a hash
// of them and the identity, so that two pipelines, environments or regions never meet.
func UniqueName(limit int, identity string, parts ...string) string {
	sum := sha256.Sum256([]byte(identity + "\x00" + strings.Join(parts, "\x00")))
	tail := "-" + hex.EncodeToString(sum[:4])
	head := strings.Join(parts, "-")
	if len(head) > limit-len(tail) {
		head = head[:limit-len(tail)]
	}
	return head + tail
}
