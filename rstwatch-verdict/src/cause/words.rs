//! Enums whose variants have one fixed word each.

/// Declares an enum whose variants have one fixed word each: in JSON, in labels, on the command line.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The fixed word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    format!("{word:?} is none of: {}", all.join(", "))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// Who emitted the RST.
    Sender {
        /// A program of this host, by its own call (close, exit) on a live socket.
        LocalApp = "local_app",
        /// This host's stack, answering a segment or ending a connection by itself.
        LocalKernel = "local_kernel",
        /// This host's netfilter.
        LocalFirewall = "local_firewall",
        /// The other end.
        Peer = "peer",
        /// A device between the ends.
        Middlebox = "middlebox",
        /// The evidence does not decide.
        Unknown = "unknown",
    }
}

words! {
    /// How sure a verdict is.
    Confidence {
        /// The kernel said so, or both ends were seen.
        Certain = "certain",
        /// The evidence agrees.
        Likely = "likely",
        /// The commonest explanation of thin evidence.
        Guess = "guess",
    }
}

words! {
    /// Which way the RST went.
    Direction {
        /// This host's stack or firewall emitted it.
        Sent = "sent",
        /// This host's socket accepted it.
        Received = "received",
    }
}
