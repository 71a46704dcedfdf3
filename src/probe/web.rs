//! What the web side answers, and whether GitLab answers so. Pure: answers go in, checks come out.

use super::check::{Check, Place};
use super::connect::Refusal;
use super::http::{Answer, Response};

/// A project that no installation has. GitLab asks for a password for projects it does not have, so that nobody
/// learns which there are.
pub(super) const GIT_PATH: &str =
    "/gantry-probe/no-such-project.git/info/refs?service=git-upload-pack";
pub(super) const SIGN_IN_PATH: &str = "/users/sign_in";
pub(super) const CABLE_PATH: &str = "/-/cable";
/// Answers to addresses on the monitoring allow list only; to others it is 404.
pub(super) const READINESS_PATH: &str = "/-/readiness";

/// The sample key of RFC 6455 section 1.3, and the only right answer to it. A nonce is of no use here: nothing is said
/// over the socket.
pub(super) const SOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const SEE_ENDS: &str = "see client-address below: it says which end";
const SEE_TARGETS: &str =
    "see whether the nodes are healthy and in the target group `web`: `gantry status`";

/// Plain HTTP has to lead to https of the same name.
pub(super) fn redirect(place: &Place, host: &str, https: u16, answer: &Answer) -> Check {
    let response = match answer {
        Answer::Said(response) => response,
        Answer::NotReached(Refusal::Refused) => {
            return place.failed(
                "the redirect is missing: the connection was refused",
                "people who type the bare name get no answer: the load balancer needs its http listener. `gantry plan` \
                 shows what is missing",
            );
        }
        Answer::NotReached(Refusal::TimedOut(_)) => {
            return place.failed(
                format!("the redirect is missing: {}", answer.text()),
                "packets are dropped: the load balancer's security group has to let port 80 in from where port 443 is let in",
            );
        }
        Answer::Closed => return place.failed(answer.text(), SEE_ENDS),
        _ => {
            return place.failed(
                answer.text(),
                "see whether the nodes are healthy and in the target group `redirect`: `gantry status`",
            );
        }
    };
    let location = response.header("location").unwrap_or_default();
    match response.status {
        400 => place.failed(
            format!("{} instead of a redirect", response.brief()),
            SEE_ENDS,
        ),
        301 | 302 | 303 | 307 | 308 => {
            let to = Url::of(location);
            if !to
                .as_ref()
                .is_some_and(|to| to.secure && to.host.eq_ignore_ascii_case(host))
            {
                return place.failed(
                    format!("the redirect leads to the wrong place: `{location}`, not to https://{host}"),
                    "the redirect is made by the nodes from `site.domain`: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`. If DNS leads \
                     elsewhere, correct the record",
                );
            }
            if to.is_some_and(|to| to.port != 443 && to.port != https) {
                return place.failed(
                    format!("the redirect leads to the wrong port: `{location}`"),
                    "the redirect is made by the nodes: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`",
                );
            }
            if matches!(response.status, 301 | 308) {
                place.ok(format!("{} to {location}", response.status))
            } else {
                place.warning(
                    format!("{} to {location}: a temporary redirect", response.status),
                    "browsers remember only 301 and 308, so every visit begins unencrypted again: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`",
                )
            }
        }
        200..=299 => place.failed(
            format!(
                "the redirect is missing: content is served over plain HTTP ({})",
                response.brief()
            ),
            "the http listener leads to the application's port instead of the redirecting one: its target group has to be \
             `redirect` (port 8081 of the nodes). `gantry install` puts it right",
        ),
        _ => place.failed(
            format!("{} instead of a redirect", response.brief()),
            "see whether the nodes are healthy and in the target group `redirect`: `gantry status`",
        ),
    }
}

/// The sign-in page has to come, and to be GitLab's.
pub(super) fn sign_in(place: &Place, host: &str, answer: &Answer) -> Check {
    let response = match answer {
        Answer::Said(response) => response,
        Answer::Closed => {
            return place.failed(
                answer.text(),
                "either no node is behind the load balancer, or one end of the proxy protocol is off: see client-address below",
            );
        }
        _ => return place.failed(answer.text(), SEE_TARGETS),
    };
    let brief = response.brief();
    match response.status {
        200 if is_gitlab(response) => match told_url(&response.body) {
            Some(url)
                if !Url::of(&url)
                    .is_some_and(|u| u.secure && u.host.eq_ignore_ascii_case(host)) =>
            {
                place.failed(
                    format!("GitLab's sign-in page, but GitLab takes itself for {url}"),
                    "external_url is wrong: it comes from `site.domain`. `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`",
                )
            }
            _ => place.ok("GitLab's sign-in page"),
        },
        200 => {
            let title = response
                .title()
                .map_or_else(String::new, |t| format!(", titled `{t}`"));
            place.failed(
                format!("a page that is not GitLab's ({brief}{title})"),
                "DNS or the load balancer leads to something else: compare the addresses of the dns check with `gantry status`",
            )
        }
        301 | 302 | 303 | 307 | 308 => moved(place, host, response),
        400 => place.failed(format!("{brief} instead of the sign-in page"), SEE_ENDS),
        502..=504 => unready(place, response),
        500 => place.failed(
            format!("{brief}: GitLab has an error of its own"),
            "often a database whose migrations have not run, or a gitlab-secrets.json that differs between nodes: look at \
             `gitlab-ctl tail` on a Rails node",
        ),
        _ => place.failed(
            format!("{brief} instead of the sign-in page"),
            "look at `gitlab-ctl tail nginx` on a Rails node",
        ),
    }
}

fn moved(place: &Place, host: &str, response: &Response) -> Check {
    let location = response.header("location").unwrap_or_default();
    let help = "external_url is wrong: it comes from `site.domain`. `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`";
    match Url::of(location) {
        // A path alone stays on this host: sign-in handed over to a provider, or the first-time setup.
        None if location.starts_with('/') => place.ok(format!("leads on to {location}")),
        Some(to) if !to.host.eq_ignore_ascii_case(host) => place.failed(
            format!("redirects to another host, `{}`: {location}", to.host),
            help,
        ),
        Some(to) if !to.secure => {
            place.failed(format!("redirects back to plain HTTP: {location}"), help)
        }
        Some(_) if location.ends_with(SIGN_IN_PATH) => place.failed(
            format!("redirects to itself: {location}"),
            "GitLab believes that the visitor came by plain HTTP: the nodes' nginx has to send X-Forwarded-Proto https, \
             which follows from external_url. `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`",
        ),
        Some(_) => place.ok(format!("leads on to {location}")),
        None => place.failed(format!("redirects to nowhere: `{location}`"), help),
    }
}

/// 502, 503 and 504: who says so tells why.
fn unready(place: &Place, response: &Response) -> Check {
    let brief = response.brief();
    let of_balancer = response.server().starts_with("awselb");
    match (of_balancer, response.status) {
        (true, 503) => place.failed(
            format!("{brief}: the load balancer has no targets"),
            "no node is registered: see the Auto Scaling group and its launches in `gantry status`",
        ),
        (true, 502) => place.failed(
            format!("{brief}: the load balancer reached a node, and the node's answer made no sense"),
            "nginx on the nodes may expect a PROXY header, which an application load balancer never sends: \
             `front.proxy_protocol`",
        ),
        (true, _) => place.failed(
            format!("{brief}: the load balancer waited for a node in vain"),
            SEE_TARGETS,
        ),
        (false, 502) => place.failed(
            format!("{brief}: GitLab is starting, or down: nginx on the node answers, GitLab behind it does not"),
            "a first start takes some minutes: probe again then. If it stays, look at `gitlab-ctl status` and \
             `gitlab-ctl tail puma` on a Rails node",
        ),
        (false, 503) => place.failed(
            format!("{brief}: GitLab answers that it is not available"),
            "an upgrade or a deploy page may be under way: `gantry runs list`. Otherwise look at `gitlab-ctl status`",
        ),
        (false, _) => place.failed(
            format!("{brief}: GitLab took too long to answer"),
            "look at the load of the Rails nodes and of the database",
        ),
    }
}

/// Git over HTTPS has to be answered by GitLab, not by a page.
pub(super) fn git_https(place: &Place, answer: &Answer) -> Check {
    let Some(response) = answer.response() else {
        return place.failed(answer.text(), SEE_TARGETS);
    };
    let brief = response.brief();
    let kind = response.header("content-type").unwrap_or_default();
    let realm = response.header("www-authenticate").unwrap_or_default();
    match response.status {
        401 if realm.contains("realm=\"GitLab\"") => {
            place.ok("GitLab asks Git for a password, as it should")
        }
        401 => place.failed(
            format!("something else than GitLab asks for a password: `{realm}`"),
            "a proxy with a password of its own stands before the site; Git clients cannot pass it",
        ),
        200 if kind.starts_with("application/x-git-") => place.ok("GitLab answers Git"),
        200 => place.failed(
            format!("{brief} with {kind} instead of an answer to Git"),
            "what answers is not GitLab, or a sign-in in front of it catches Git as well",
        ),
        301..=308 => place.failed(
            format!(
                "Git is sent to `{}`",
                response.header("location").unwrap_or_default()
            ),
            "a sign-in in front of GitLab catches Git as well; Git clients cannot pass it",
        ),
        403 => place.warning(
            format!("{brief}: GitLab does not allow Git over HTTPS"),
            "if that is not meant: Admin, Settings, General, Visibility and access controls, Enabled Git access protocols",
        ),
        400 => place.failed(format!("{brief} instead of an answer to Git"), SEE_ENDS),
        _ => place.failed(
            format!("{brief} instead of an answer to Git"),
            "look at `gitlab-ctl tail gitlab-workhorse` on a Rails node",
        ),
    }
}

/// An upgrade to a WebSocket has to get through to GitLab.
pub(super) fn websocket(place: &Place, answer: &Answer) -> Check {
    let Some(response) = answer.response() else {
        return place.failed(answer.text(), SEE_TARGETS);
    };
    let brief = response.brief();
    let upgrade = response.header("upgrade").unwrap_or_default();
    let accepted = response.header("sec-websocket-accept") == Some(SOCKET_ACCEPT);
    let page = response
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/html"));
    match response.status {
        101 if upgrade.eq_ignore_ascii_case("websocket") && accepted => {
            place.ok("upgraded to a WebSocket")
        }
        101 => place.failed(
            "upgraded, but not to the WebSocket that was asked for",
            "something between answers in place of GitLab",
        ),
        // Rails says this in plain text when it dislikes the origin, and also when it saw no upgrade.
        403 | 404 if !page => place.warning(
            format!("GitLab answered {brief} instead of an upgrade"),
            "either external_url is another name than this one, so that GitLab refuses the origin, or something on the way \
             takes off the Upgrade header. Live updates of issues and merge requests need it",
        ),
        400 => place.failed(format!("{brief} instead of an upgrade"), SEE_ENDS),
        502..=504 => place.failed(format!("{brief} instead of an upgrade"), SEE_TARGETS),
        _ => place.failed(
            format!("the upgrade was refused: {brief}"),
            "what stands before GitLab has to pass the headers Connection and Upgrade on: a network load balancer does, a \
             classic one does not",
        ),
    }
}

/// Whether the answer bears GitLab's marks.
fn is_gitlab(response: &Response) -> bool {
    response.header("x-gitlab-meta").is_some()
        || response
            .headers
            .iter()
            .any(|(name, value)| name == "set-cookie" && value.starts_with("_gitlab_session"))
        || response.body.contains("gon.gitlab_url")
        || response
            .body
            .contains("content=\"GitLab\" property=\"og:site_name\"")
}

/// What the page says that GitLab's own address is: external_url.
fn told_url(body: &str) -> Option<String> {
    let start = body.find("gon.gitlab_url=\"")? + "gon.gitlab_url=\"".len();
    let length = body[start..].find('"')?;
    Some(body[start..start + length].replace("\\/", "/"))
}

/// The parts of an absolute URL that matter here.
struct Url {
    secure: bool,
    host: String,
    port: u16,
}

impl Url {
    fn of(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, if secure { 443 } else { 80 }),
        };
        Some(Self {
            secure,
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Name, Verdict};

    const HOST: &str = "gitlab.example.com";

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::Said(Response {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }

    fn place() -> Place {
        Place::new(Name::SignIn, HOST)
    }

    #[track_caller]
    fn is(check: &Check, verdict: Verdict, words: &str) {
        assert_eq!(check.verdict, verdict, "{check:?}");
        assert!(check.detail.contains(words), "{check:?}");
        assert_eq!(check.help.is_empty(), verdict == Verdict::Ok, "{check:?}");
    }

    #[test]
    fn a_redirect_is_permanent_and_stays_with_the_name() {
        let to = |status, location| {
            redirect(
                &place(),
                HOST,
                443,
                &answer(status, &[("location", location)], ""),
            )
        };
        is(
            &to(301, "https://gitlab.example.com/"),
            Verdict::Ok,
            "301 to",
        );
        is(
            &to(308, "https://GitLab.example.com:443/"),
            Verdict::Ok,
            "308 to",
        );
        is(
            &to(302, "https://gitlab.example.com/"),
            Verdict::Warning,
            "temporary",
        );
        is(
            &to(301, "https://other.example.com/"),
            Verdict::Failed,
            "wrong place: `https://other",
        );
        is(
            &to(301, "http://gitlab.example.com/"),
            Verdict::Failed,
            "wrong place: `http://",
        );
        is(
            &to(301, "https://gitlab.example.com:8443/"),
            Verdict::Failed,
            "wrong port",
        );
        is(&to(301, ""), Verdict::Failed, "wrong place: ``");
    }

    #[test]
    fn a_missing_redirect_says_how_it_is_missing() {
        let seen = |answer| redirect(&place(), HOST, 443, &answer);
        is(
            &seen(answer(200, &[], "")),
            Verdict::Failed,
            "served over plain HTTP",
        );
        is(
            &seen(Answer::NotReached(Refusal::Refused)),
            Verdict::Failed,
            "refused",
        );
        is(&seen(answer(404, &[], "")), Verdict::Failed, "404 instead");
        is(&seen(Answer::Closed), Verdict::Failed, "without an answer");
    }

    #[test]
    fn the_sign_in_page_is_gitlabs_and_knows_its_name() {
        let page = |url: &str| {
            let body = format!("<script>gon.gitlab_url=\"{url}\";</script>");
            sign_in(&place(), HOST, &answer(200, &[], &body))
        };
        is(
            &page("https://gitlab.example.com"),
            Verdict::Ok,
            "sign-in page",
        );
        is(
            &page("https:\\/\\/gitlab.example.com"),
            Verdict::Ok,
            "sign-in page",
        );
        is(
            &page("http://gitlab.example.com"),
            Verdict::Failed,
            "takes itself for http:",
        );
        is(
            &page("https://old.example.com"),
            Verdict::Failed,
            "takes itself for https://old",
        );
        let other = answer(200, &[("server", "nginx")], "<title>Welcome</title>");
        is(
            &sign_in(&place(), HOST, &other),
            Verdict::Failed,
            "not GitLab's (200 from nginx, titled `Welcome`)",
        );
    }

    #[test]
    fn a_sign_in_page_elsewhere_names_where() {
        let to = |location| sign_in(&place(), HOST, &answer(302, &[("location", location)], ""));
        is(
            &to("https://old.example.com/users/sign_in"),
            Verdict::Failed,
            "another host, `old.example.com`",
        );
        is(
            &to("http://gitlab.example.com/users/sign_in"),
            Verdict::Failed,
            "back to plain HTTP",
        );
        is(
            &to("https://gitlab.example.com/users/sign_in"),
            Verdict::Failed,
            "to itself",
        );
        is(
            &to("https://gitlab.example.com/users/auth/saml"),
            Verdict::Ok,
            "leads on to",
        );
        is(&to("/users/auth/saml"), Verdict::Ok, "leads on to");
    }

    #[test]
    fn an_unready_site_says_who_is_not_ready() {
        let seen =
            |status, server| sign_in(&place(), HOST, &answer(status, &[("server", server)], ""));
        is(&seen(502, "nginx"), Verdict::Failed, "GitLab is starting");
        is(&seen(503, "nginx"), Verdict::Failed, "not available");
        is(&seen(503, "awselb/2.0"), Verdict::Failed, "no targets");
        is(&seen(502, "awselb/2.0"), Verdict::Failed, "made no sense");
        is(&seen(504, "awselb/2.0"), Verdict::Failed, "in vain");
        is(&seen(504, "nginx"), Verdict::Failed, "too long");
        is(&seen(500, "nginx"), Verdict::Failed, "error of its own");
    }

    #[test]
    fn git_is_answered_by_gitlab() {
        let seen =
            |status, headers: &[(&str, &str)]| git_https(&place(), &answer(status, headers, ""));
        is(
            &seen(401, &[("www-authenticate", "Basic realm=\"GitLab\"")]),
            Verdict::Ok,
            "password",
        );
        is(
            &seen(401, &[("www-authenticate", "Basic realm=\"Proxy\"")]),
            Verdict::Failed,
            "realm=\"Proxy\"",
        );
        is(
            &seen(
                200,
                &[(
                    "content-type",
                    "application/x-git-upload-pack-advertisement",
                )],
            ),
            Verdict::Ok,
            "Git",
        );
        is(
            &seen(200, &[("content-type", "text/html")]),
            Verdict::Failed,
            "text/html",
        );
        is(
            &seen(302, &[("location", "https://sso.example.com")]),
            Verdict::Failed,
            "sso.example.com",
        );
        is(&seen(403, &[]), Verdict::Warning, "does not allow");
        is(&seen(404, &[]), Verdict::Failed, "404");
    }

    #[test]
    fn an_upgrade_is_the_one_that_was_asked_for() {
        let seen =
            |status, headers: &[(&str, &str)]| websocket(&place(), &answer(status, headers, ""));
        let (up, key) = (("upgrade", "WebSocket"), "sec-websocket-accept");
        is(
            &seen(101, &[up, (key, SOCKET_ACCEPT)]),
            Verdict::Ok,
            "WebSocket",
        );
        is(
            &seen(101, &[up, (key, "x")]),
            Verdict::Failed,
            "not to the WebSocket",
        );
        is(
            &seen(101, &[("upgrade", "h2c")]),
            Verdict::Failed,
            "not to the WebSocket",
        );
        is(
            &seen(404, &[("content-type", "text/plain")]),
            Verdict::Warning,
            "404",
        );
        is(
            &seen(404, &[("content-type", "text/html; charset=utf-8")]),
            Verdict::Failed,
            "refused",
        );
        is(&seen(426, &[]), Verdict::Failed, "refused: 426");
        is(
            &seen(200, &[("content-type", "text/html")]),
            Verdict::Failed,
            "refused: 200",
        );
    }
}
