package provider

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/tokenworker/tokenworker"
)

// Variables of a URL template that are filled for each request. All others are filled when the catalogue is loaded, from
// its values.
const (
	varCompany    = "company"    // CompanyID of the connection's key
	varConnection = "connection" // the provider's own id of the connection

	// varCompanyLabel is the CompanyID as one DNS label: in small letters, with a hyphen for each underscore. NetSuite has
	// account 1234567_SB1 at 1234567-sb1.
	varCompanyLabel = "company_label"

	varClientID = "client_id"
	varToken    = "token" // revocation only
)

// template is a URL with variables: https://{company}.example.com/oauth/revoke.
//
// A variable in the host stands for letters, digits and hyphens of one DNS label, and at least two labels must follow it
// literally, so that whoever chooses an id cannot choose whose host is called. In the path it stands for part of
// one segment. The token is escaped instead, because nobody chooses its letters.
type template struct {
	parts []templatePart
}

type templatePart struct {
	text     string // literal, or the name of a variable
	variable bool
	inHost   bool
}

var (
	variableName = regexp.MustCompile(`^[a-z][a-z_]*$`)
	dnsLabel     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	dnsLabels    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	hostName     = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	pathValue    = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9_~.-]{0,127}$`)
	urlRest      = regexp.MustCompile("^[!-~]*$") // printable ASCII without space
)

var (
	errTemplate      = errors.New("not a URL of the form https://host/path")
	errTemplateVar   = errors.New("a variable is a lower-case name between braces")
	errTemplateHost  = errors.New("after a variable in the host, at least two labels must follow literally")
	errTemplateValue = errors.New("a value does not fit its place in the URL")
	errTemplateUnset = errors.New("a variable has no value")
)

// parseTemplate reads a template whose values are filled in.
func parseTemplate(s string) (template, error) {
	parts, err := splitTemplate(s)
	if err != nil {
		return template{}, err
	}
	for _, part := range parts {
		if !part.variable {
			continue
		}
		switch part.text {
		case varCompany, varCompanyLabel, varConnection:
		case varClientID, varToken:
			if part.inHost {
				return template{}, errTemplateHost
			}
		default:
			return template{}, errTemplateUnset
		}
	}
	if err := validHost(parts); err != nil {
		return template{}, err
	}
	return template{parts}, nil
}

// fillTemplate puts values into s. A value is literal text, or itself one of the variables that are filled for each
// request. Variables without a value are left.
func fillTemplate(s string, values map[string]string) (string, error) {
	parts, err := splitTemplate(s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, part := range parts {
		value, ok := values[part.text]
		switch {
		case !part.variable:
			b.WriteString(part.text)
		case !ok:
			b.WriteString("{" + part.text + "}")
		case value == "{"+varCompany+"}", value == "{"+varCompanyLabel+"}", value == "{"+varConnection+"}":
			b.WriteString(value)
		case part.inHost && dnsLabels.MatchString(value), !part.inHost && pathValue.MatchString(value):
			b.WriteString(value)
		default:
			return "", errTemplateValue
		}
	}
	return b.String(), nil
}

// splitTemplate takes s apart without judging its host.
func splitTemplate(s string) ([]templatePart, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "https" && scheme != "http" || !urlRest.MatchString(rest) || strings.ContainsAny(rest, "#@\\%") {
		return nil, errTemplate
	}
	parts := []templatePart{{text: scheme + "://"}}
	inHost := true
	for rest != "" {
		if rest[0] == '{' {
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed || !variableName.MatchString(name) {
				return nil, errTemplateVar
			}
			parts = append(parts, templatePart{name, true, inHost})
			rest = after
			continue
		}
		end := strings.IndexByte(rest, '{')
		if end < 0 {
			end = len(rest)
		}
		if slash := strings.IndexAny(rest[:end], "/?"); inHost && slash >= 0 {
			if slash > 0 {
				parts = append(parts, templatePart{rest[:slash], false, true})
			}
			inHost, rest = false, rest[slash:]
			continue
		}
		if strings.ContainsRune(rest[:end], '}') {
			return nil, errTemplateVar
		}
		parts = append(parts, templatePart{rest[:end], false, inHost})
		rest = rest[end:]
	}
	return parts, nil
}

// validHost judges the host that the parts spell, with one letter in the place of each variable.
func validHost(parts []templatePart) error {
	var sample, tail strings.Builder // tail: the host after its last variable
	variable := false
	for _, part := range parts {
		switch {
		case part.variable && part.inHost:
			variable = true
			tail.Reset()
			sample.WriteByte('x')
		case part.variable:
			sample.WriteByte('x')
		default:
			sample.WriteString(part.text)
			if part.inHost {
				tail.WriteString(part.text)
			}
		}
	}
	u, err := url.Parse(sample.String())
	if err != nil {
		return errTemplate
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil && !variable {
		return nil
	}
	if len(host) > 253 || !hostName.MatchString(host) {
		return errTemplate
	}
	if labels, _, _ := strings.Cut(tail.String(), ":"); variable && strings.Count(labels, ".") < 2 {
		return errTemplateHost
	}
	return nil
}

// isZero reports a template that was never set.
func (t template) isZero() bool { return len(t.parts) == 0 }

// has reports whether the named variable is part of the template.
func (t template) has(name string) bool {
	for _, part := range t.parts {
		if part.variable && part.text == name {
			return true
		}
	}
	return false
}

// plain reports a template of plain HTTP.
func (t template) plain() bool { return !t.isZero() && t.parts[0].text == "http://" }

// fillers is what stands for the variables in one request.
type fillers struct {
	company    string
	connection string
	clientID   tokenworker.Secret
	token      tokenworker.Secret
}

// expand fills the variables that are left.
func (t template) expand(f fillers) (*url.URL, error) {
	var b strings.Builder
	for _, part := range t.parts {
		if !part.variable {
			b.WriteString(part.text)
			continue
		}
		var value string
		switch part.text {
		case varCompany:
			value = f.company
		case varCompanyLabel:
			value = strings.ReplaceAll(strings.ToLower(f.company), "_", "-")
		case varConnection:
			value = f.connection
		case varClientID:
			value = string(f.clientID.Reveal())
		case varToken:
			// Fit for path and query alike.
			b.WriteString(strings.ReplaceAll(url.QueryEscape(string(f.token.Reveal())), "+", "%20"))
			continue
		}
		if part.inHost && !dnsLabel.MatchString(value) || !pathValue.MatchString(value) {
			return nil, errTemplateValue
		}
		b.WriteString(value)
	}
	u, err := url.Parse(b.String())
	if err != nil {
		return nil, errTemplate // the library's own error repeats the URL
	}
	return u, nil
}
