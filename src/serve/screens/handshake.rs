//! The beginning of both conversations of a view: a server's part to the viewer, a viewer's to the client's program.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::proto::rfb::{self, NotRfb, VERSION, Version, WELCOME};

/// How long a program may take to say which version it speaks: nobody has to type anything for that.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// Why nothing came of a conversation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotRfb(#[from] NotRfb),
    #[error("it says nothing")]
    Silent,
    #[error("the password was wrong")]
    WrongPassword,
    #[error("it chose another kind of security than there is")]
    OtherSecurity,
    #[error("it asks for a password, which the one on the client should not")]
    AsksForPassword,
    #[error("it let nobody in")]
    Refused,
}

/// Asks who connects for the password.
pub(super) async fn as_server<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    challenge: &[u8; 16],
    password: &str,
) -> Result<(), Broken> {
    stream.write_all(VERSION).await?;
    let mut said = [0; 12];
    timeout(VERSION_WITHIN, stream.read_exact(&mut said)).await.map_err(|_| Broken::Silent)??;
    let version = Version::read(&said)?;
    stream.write_all(version.offer()).await?;
    if version != Version::V3 && stream.read_u8().await? != rfb::PASSWORD {
        return Err(Broken::OtherSecurity);
    }
    stream.write_all(challenge).await?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await?;
    if answer != rfb::response(challenge, password) {
        stream.write_all(&version.refusal("that is not the password of this screen")).await?;
        return Err(Broken::WrongPassword);
    }
    stream.write_all(&WELCOME).await?;
    Ok(())
}

/// Greets the program that has the screen.
pub(super) async fn as_viewer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Broken> {
    let mut said = [0; 12];
    stream.read_exact(&mut said).await?;
    let version = Version::read(&said)?;
    let own = match version {
        Version::V3 => b"RFB 003.003\n",
        Version::V7 => b"RFB 003.007\n",
        Version::V8 => VERSION,
    };
    stream.write_all(own).await?;
    if version == Version::V3 {
        return if stream.read_u32().await? == u32::from(rfb::NONE) {
            Ok(())
        } else {
            Err(Broken::AsksForPassword)
        };
    }
    let mut kinds = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut kinds).await?;
    if !kinds.contains(&rfb::NONE) {
        return Err(Broken::AsksForPassword);
    }
    stream.write_u8(rfb::NONE).await?;
    if version == Version::V8 && stream.read_u32().await? != 0 {
        return Err(Broken::Refused);
    }
    Ok(())
}
