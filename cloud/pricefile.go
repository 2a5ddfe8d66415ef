package cloud

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

// priceItems are the names of what has a price, besides instance types such as t3.small and spot:t3.small.
var priceItems = map[string]string{
	"eks:standard": "control plane, hour", "eks:extended": "control plane in extended support, hour, all of it",
	"nat": "NAT gateway, hour", "nat:regional": "regional NAT gateway, hour, all of its zones", "ipv4": "public IPv4 address, hour", "clb": "classic load balancer, hour", "nlb": "network load balancer, hour",
	"alb": "application load balancer, hour", "snapshot:gb-month": "GiB of a snapshot, month",
	"gp2:gb-month": "GiB of gp2, month", "gp3:gb-month": "GiB of gp3, month", "gp3:iops-month": "IOPS of gp3 beyond 3000, month",
	"gp3:mibps-month": "MiB/s of gp3 beyond 125, month", "io1:gb-month": "GiB of io1, month", "io1:iops-month": "IOPS of io1, month",
	"io2:gb-month": "GiB of io2, month", "io2:iops-month": "IOPS of io2, month", "st1:gb-month": "GiB of st1, month", "sc1:gb-month": "GiB of sc1, month",
}

var (
	regionName   = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	instanceType = regexp.MustCompile(`^(spot:)?[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	yamlLine     = regexp.MustCompile(`line (\d+): `)
)

// ReadPrices reads a price file, YAML or JSON, strictly: every problem at once, as spec.Problems.
func ReadPrices(file string, source []byte) (PriceList, error) {
	var l PriceList
	var doc yaml.Node
	if err := yaml.Unmarshal(source, &doc); err != nil {
		p := spec.Problem{File: file, Line: 1, Col: 1, Message: yamlLine.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "")}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
		}
		return l, spec.Problems{p}
	}
	if len(doc.Content) == 0 {
		return l, spec.Problems{{File: file, Line: 1, Col: 1, Message: "the file is empty", Hint: priceExample}}
	}
	root := doc.Content[0]
	problems := spec.Decode(file, root, &l)
	if len(problems) == 0 {
		problems = checkPrices(file, root, l)
	}
	for i := range problems {
		if problems[i].Hint == "" && problems[i].Path == "" {
			problems[i].Hint = priceExample
		}
	}
	return l, problems.Err()
}

const priceExample = `expected {asOf: 2026-11-22, regions: {us-west-2: {t3.small: 0.02, nat: 0.045}}}`

// checkPrices looks at names and values where they stand: their paths hold dots, by which they could not be found again.
func checkPrices(file string, root *yaml.Node, l PriceList) spec.Problems {
	var out spec.Problems
	add := func(n *yaml.Node, hint, format string, args ...any) {
		out = append(out, spec.Problem{File: file, Line: n.Line, Col: n.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	for region, items := range pairs(spec.Locate(root, "regions")) {
		if !regionName.MatchString(region.Value) {
			add(region, "such as ap-northeast-2", "unknown region %q", region.Value)
		}
		for item, value := range pairs(items) {
			if _, known := priceItems[item.Value]; !known && !instanceType.MatchString(item.Value) {
				names := slices.Sorted(maps.Keys(priceItems))
				hint := spec.Nearest(item.Value, names)
				if hint == "" {
					hint = "an instance type, spot:TYPE, or one of " + strings.Join(names, ", ")
				}
				add(item, hint, "unknown item %q", item.Value)
			}
			if usd := l.Regions[region.Value][item.Value]; usd != nil && !(*usd > 0 && *usd < 1000) {
				add(value, "null says that a price is not known", "%s: expected USD above 0 and below 1000, got %s", item.Value, value.Value)
			}
		}
	}
	return out
}

// pairs goes through keys and values of a mapping.
func pairs(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}
